//! The chroot: only this side knows of it.

use std::borrow::Cow;

/// Put before every path that is sent, taken from every path that arrives.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Chroot(String);

impl Chroot {
    /// `None` for the root itself.
    pub(crate) fn new(path: Option<&str>) -> Self {
        Self(path.unwrap_or_default().to_owned())
    }

    /// How many bytes it adds to a path.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The path as the server knows it.
    pub(crate) fn full<'a>(&self, path: &'a str) -> Cow<'a, str> {
        if self.0.is_empty() {
            Cow::Borrowed(path)
        } else if path == "/" {
            Cow::Owned(self.0.clone())
        } else {
            Cow::Owned(format!("{}{path}", self.0))
        }
    }

    /// The path as the broker knows it; `None` if it is outside.
    pub(crate) fn strip<'a>(&self, full: &'a str) -> Option<&'a str> {
        match full.strip_prefix(self.0.as_str())? {
            "" => Some("/"),
            path if path.starts_with('/') => Some(path),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_put_before_and_taken_off() {
        let chroot = Chroot::new(Some("/k"));
        for (path, full) in [("/", "/k"), ("/a/b", "/k/a/b")] {
            assert_eq!(chroot.full(path), full);
            assert_eq!(chroot.strip(full), Some(path));
        }
        assert_eq!(chroot.strip("/kafka"), None);
        assert_eq!(chroot.strip("/other"), None);
        let root = Chroot::new(None);
        assert_eq!(root.full("/a"), "/a");
        assert_eq!(root.strip("/a"), Some("/a"));
        assert_eq!(root.strip("/"), Some("/"));
    }
}
