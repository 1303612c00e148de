//! The levels of loggers, which DescribeConfigs shows and IncrementalAlterConfigs changes as the
//! resource "broker logger" (KIP-412, `Log4jController`). A logger is a module target of ours.

use std::collections::BTreeMap;
use std::fmt;

use parking_lot::Mutex;

/// The logger above all others.
pub const ROOT: &str = "root";

/// Levels that a logger can have, in the order of Kafka's error message.
pub const LEVELS: [&str; 6] = ["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"];

/// Loggers that exist from the start: the targets of this program.
const TARGETS: [&str; 16] = [
    "ottla",
    "ottla_broker",
    "ottla_broker::controller",
    "ottla_broker::coordination",
    "ottla_broker::dynamic_config",
    "ottla_broker::group_coordinator",
    "ottla_broker::handlers",
    "ottla_broker::replica_manager",
    "ottla_controller",
    "ottla_coordination_embedded",
    "ottla_coordination_zookeeper",
    "ottla_group_coordinator",
    "ottla_network",
    "ottla_replication",
    "ottla_storage",
    "state_change",
];

/// Puts a filter in the syntax of `tracing_subscriber`'s `EnvFilter` in force.
pub type Reload = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// The loggers of this process.
pub struct Loggers {
    levels: Mutex<Levels>,
    reload: Reload,
}

#[derive(Clone, Debug)]
struct Levels {
    root: &'static str,
    own: BTreeMap<String, &'static str>,
    /// Directives of the start that are not plain levels of targets; they stay.
    others: Vec<String>,
}

impl fmt::Debug for Loggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loggers")
            .field("levels", &self.levels.lock())
            .finish_non_exhaustive()
    }
}

impl Loggers {
    /// The loggers as `filter` has set them; `reload` puts a changed filter in force.
    pub fn new(filter: &str, reload: Reload) -> Self {
        let mut levels = Levels {
            root: "ERROR",
            own: BTreeMap::new(),
            others: Vec::new(),
        };
        for directive in filter
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            let (target, level) = match directive.split_once('=') {
                Some((target, level)) => (Some(target), level),
                None => (None, directive),
            };
            match (target, of_filter(level)) {
                (None, Some(level)) => levels.root = level,
                (Some(target), Some(level)) if !target.contains(['[', '{']) => {
                    levels.own.insert(target.to_owned(), level);
                }
                _ => levels.others.push(directive.to_owned()),
            }
        }
        Self {
            levels: Mutex::new(levels),
            reload,
        }
    }

    /// Every logger with its level in force, by name.
    pub fn list(&self) -> BTreeMap<String, &'static str> {
        let levels = self.levels.lock();
        let names = TARGETS
            .iter()
            .map(|name| (*name).to_owned())
            .chain(levels.own.keys().cloned());
        let mut all: BTreeMap<String, &'static str> =
            names.map(|name| (name.clone(), levels.of(&name))).collect();
        all.insert(ROOT.to_owned(), levels.root);
        all
    }

    /// Whether there is a logger of this name.
    pub fn exists(&self, name: &str) -> bool {
        name == ROOT || TARGETS.contains(&name) || self.levels.lock().own.contains_key(name)
    }

    /// Sets levels, or takes them back where there is none: the logger then follows the one above
    /// it. Names and levels were checked by [`Loggers::exists`] and against [`LEVELS`].
    ///
    /// # Errors
    /// What keeps the new filter from being used; nothing changes then.
    pub fn set(&self, changes: &[(String, Option<&'static str>)]) -> Result<(), String> {
        let mut levels = self.levels.lock();
        let mut changed = levels.clone();
        for (name, level) in changes {
            match level {
                Some(level) if name == ROOT => changed.root = level,
                Some(level) => drop(changed.own.insert(name.clone(), level)),
                None => drop(changed.own.remove(name)),
            }
        }
        (self.reload)(&changed.filter())?;
        *levels = changed;
        Ok(())
    }
}

impl Levels {
    /// A logger's level: its own, or that of the nearest logger above it.
    fn of(&self, name: &str) -> &'static str {
        let mut above = name;
        loop {
            if let Some(level) = self.own.get(above) {
                return level;
            }
            match above.rsplit_once("::") {
                Some((parent, _)) => above = parent,
                None => return self.root,
            }
        }
    }

    fn filter(&self) -> String {
        let mut directives = vec![to_filter(self.root).to_owned()];
        directives.extend(
            self.own
                .iter()
                .map(|(name, level)| format!("{name}={}", to_filter(level))),
        );
        directives.extend(self.others.iter().cloned());
        directives.join(",")
    }
}

/// Nothing here is logged as fatal, so that level silences a logger.
fn to_filter(level: &str) -> &'static str {
    match level {
        "TRACE" => "trace",
        "DEBUG" => "debug",
        "INFO" => "info",
        "WARN" => "warn",
        "ERROR" => "error",
        _ => "off",
    }
}

fn of_filter(level: &str) -> Option<&'static str> {
    let level = level.to_ascii_uppercase();
    if level == "OFF" {
        return Some("FATAL");
    }
    LEVELS.into_iter().find(|known| *known == level)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn loggers(filter: &str) -> (Loggers, Arc<Mutex<String>>) {
        let applied = Arc::new(Mutex::new(String::new()));
        let copy = Arc::clone(&applied);
        let reload = move |filter: &str| {
            filter.clone_into(&mut copy.lock());
            Ok(())
        };
        (Loggers::new(filter, Box::new(reload)), applied)
    }

    #[test]
    fn a_logger_follows_the_one_above_it_until_it_has_a_level_of_its_own() {
        let (loggers, applied) = loggers("warn,ottla_broker=info");
        assert_eq!(loggers.list()["ottla_storage"], "WARN");
        assert_eq!(loggers.list()["ottla_broker::handlers"], "INFO");
        let handlers = "ottla_broker::handlers".to_owned();
        loggers.set(&[(handlers.clone(), Some("DEBUG"))]).unwrap();
        assert_eq!(
            *applied.lock(),
            "warn,ottla_broker=info,ottla_broker::handlers=debug"
        );
        assert_eq!(loggers.list()["ottla_broker::handlers"], "DEBUG");
        loggers
            .set(&[(handlers, None), (ROOT.to_owned(), Some("FATAL"))])
            .unwrap();
        assert_eq!(*applied.lock(), "off,ottla_broker=info");
        assert_eq!(loggers.list()[ROOT], "FATAL");
    }

    #[test]
    fn only_known_loggers_exist() {
        let (loggers, _) = loggers("info,some::module=trace");
        assert!(loggers.exists("root") && loggers.exists("some::module"));
        assert!(!loggers.exists("no.such.logger"));
    }
}
