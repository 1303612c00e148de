//! `meta.properties`: to which cluster and broker a log directory belongs (version 0, ZooKeeper).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use ottla_model::{BrokerId, Timestamp};

use crate::directory::{Directory, invalid_data, read_file, write_file_atomically};

/// Name of the file.
pub const META_PROPERTIES: &str = "meta.properties";

const FILE_BYTES_MAX: u64 = 1 << 20;

/// The content of the file. Keys that are not known are kept.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MetaProperties {
    properties: BTreeMap<String, String>,
}

impl MetaProperties {
    /// What a broker writes.
    pub fn new(cluster_id: &str, broker_id: BrokerId) -> Self {
        let mut meta = Self::default();
        meta.set("version", "0".to_owned());
        meta.set("cluster.id", cluster_id.to_owned());
        meta.set("broker.id", broker_id.to_string());
        meta
    }

    /// Reads the file; `None` if there is none.
    ///
    /// # Errors
    /// The file cannot be read, or a number in it is none.
    pub fn read(directory: &dyn Directory, path: &Path) -> io::Result<Option<Self>> {
        let content = match read_file(directory, path, FILE_BYTES_MAX) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let malformed = |what: &str| invalid_data(format!("{what} in {}", path.display()));
        let properties = ottla_config::properties::parse(&content)
            .map_err(|error| malformed(&error.to_string()))?;
        let meta = Self { properties };
        if meta.number("version").is_none() && meta.text("version").is_some() {
            return Err(malformed("malformed version"));
        }
        if meta.number("broker.id").is_none() && meta.text("broker.id").is_some() {
            return Err(malformed("malformed broker.id"));
        }
        Ok(Some(meta))
    }

    /// Writes the file durably.
    pub fn write(&self, directory: &dyn Directory, path: &Path, now: Timestamp) -> io::Result<()> {
        let mut content = format!("#\n#{}\n", java_date(now));
        for (key, value) in &self.properties {
            content.push_str(&format!("{key}={}\n", escape(value)));
        }
        write_file_atomically(directory, path, content.as_bytes())
    }

    /// The version; 0 if the file does not say.
    pub fn version(&self) -> i32 {
        self.number("version").unwrap_or(0)
    }

    /// The broker.
    pub fn broker_id(&self) -> Option<BrokerId> {
        self.number("broker.id").map(BrokerId)
    }

    /// The cluster.
    pub fn cluster_id(&self) -> Option<&str> {
        self.text("cluster.id")
    }

    /// The directory, if a migration gave it an id.
    pub fn directory_id(&self) -> Option<&str> {
        self.text("directory.id")
    }

    /// The same with another cluster and broker, in version 0.
    #[must_use]
    pub fn with_identity(&self, cluster_id: &str, broker_id: BrokerId) -> Self {
        let mut meta = self.clone();
        meta.properties
            .extend(Self::new(cluster_id, broker_id).properties);
        meta
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }

    fn number(&self, key: &str) -> Option<i32> {
        self.text(key)?.trim().parse().ok()
    }

    fn set(&mut self, key: &str, value: String) {
        self.properties.insert(key.to_owned(), value);
    }
}

/// Escapes a value as `java.util.Properties.store` does, for the ASCII that occurs here.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for (index, character) in value.chars().enumerate() {
        match character {
            ' ' if index == 0 => escaped.push_str("\\ "),
            '\\' | '=' | ':' | '#' | '!' => {
                escaped.push('\\');
                escaped.push(character);
            }
            ' '..='~' => escaped.push(character),
            _ => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    escaped.push_str(&format!("\\u{unit:04X}"));
                }
            }
        }
    }
    escaped
}

/// A moment as `java.util.Date.toString` prints it, in UTC.
fn java_date(now: Timestamp) -> String {
    let seconds = now.0.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01, by the calendar's cycle of 400 years.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = year_of_era + era * 400 + i64::from(month < 2);
    let names = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let name = names[days.rem_euclid(7) as usize];
    let month = months[month as usize];
    format!("{name} {month} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}")
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::directory::{MemoryDirectory, OpenMode};

    #[test]
    fn dates_look_like_those_of_java() {
        for (millis, expected) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (951_782_400_000, "Tue Feb 29 00:00:00 UTC 2000"),
            (1_795_230_463_000, "Sat Nov 21 03:07:43 UTC 2026"),
        ] {
            assert_eq!(java_date(Timestamp(millis)), expected);
        }
    }

    #[test]
    fn content_is_read_back_and_bad_numbers_are_errors() {
        let directory = MemoryDirectory::new();
        let path = Path::new("/meta.properties");
        assert_eq!(MetaProperties::read(&directory, path).unwrap(), None);
        let meta = MetaProperties::new("vpGdYTVQTK-RrrM6dJ1YPg", BrokerId(1001));
        meta.write(&directory, path, Timestamp(0)).unwrap();
        let content = read_file(&directory, path, 1000).unwrap();
        let expected = "#\n#Thu Jan 01 00:00:00 UTC 1970\nbroker.id=1001\n\
                        cluster.id=vpGdYTVQTK-RrrM6dJ1YPg\nversion=0\n";
        assert_eq!(String::from_utf8(content).unwrap(), expected);
        assert_eq!(MetaProperties::read(&directory, path).unwrap(), Some(meta));
        let file = directory.open(path, OpenMode::CreateEmpty).unwrap();
        file.write_all_at(&mut [IoSlice::new(b"broker.id=x\n")], 0)
            .unwrap();
        assert!(MetaProperties::read(&directory, path).is_err());
    }
}
