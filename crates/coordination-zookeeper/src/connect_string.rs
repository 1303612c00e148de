//! `host:port,host:port/chroot`.

use ottla_coordination::tree::is_valid_path;

/// A connect string taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ConnectString {
    /// The servers, as they were given.
    pub(crate) servers: String,
    /// The chroot, if it is not the root.
    pub(crate) chroot: Option<String>,
}

impl ConnectString {
    /// Takes a connect string apart; `None` if it is malformed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (servers, chroot) = match text.find('/') {
            None => (text, "/"),
            Some(slash) => text.split_at(slash),
        };
        let servers: Vec<&str> = servers.split(',').map(str::trim).collect();
        if servers.iter().any(|server| server.is_empty()) || !is_valid_path(chroot) {
            return None;
        }
        let chroot = (chroot != "/").then(|| chroot.to_owned());
        Some(Self {
            servers: servers.join(","),
            chroot,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chroot_comes_once_and_last() {
        let parse = |text| ConnectString::parse(text).map(|s| (s.servers, s.chroot));
        assert_eq!(parse("a:1"), Some(("a:1".into(), None)));
        assert_eq!(parse("a:1/"), Some(("a:1".into(), None)));
        assert_eq!(
            parse("a:1, b:2/k/x"),
            Some(("a:1,b:2".into(), Some("/k/x".into())))
        );
        for bad in ["", "/k", "a:1,", "a:1,/k", "a:1/k/", "a:1//k", "a:1/k/.."] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
