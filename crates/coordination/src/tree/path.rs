//! Which paths are legal (`org.apache.zookeeper.common.PathUtils`).

/// Whether a path is absolute, without empty, `.` or `..` components, a trailing slash, or the
/// characters that ZooKeeper forbids (control characters, surrogates, private use, specials).
pub fn is_valid_path(path: &str) -> bool {
    if path == "/" {
        return true;
    }
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    rest.split('/').all(|name| !matches!(name, "" | "." | "..")) && !rest.chars().any(is_forbidden)
}

fn is_forbidden(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{e000}'..='\u{f8ff}'
        // Java sees those above as surrogates.
        | '\u{fff0}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_that_zookeeper_accepts() {
        for path in [
            "/",
            "/a",
            "/a/b",
            "/a.b/..c/d..",
            "/ä",
            "/<default>",
            "/a b",
            "/...",
            "/\u{d7ff}",
        ] {
            assert!(is_valid_path(path), "{path}");
        }
        for path in [
            "",
            "a",
            "a/b",
            "//",
            "/a/",
            "/a//b",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a\0",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{1f600}",
        ] {
            assert!(!is_valid_path(path), "{path:?}");
        }
    }
}
