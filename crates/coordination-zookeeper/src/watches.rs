//! Armed watches, as a client of ZooKeeper keeps them: a server forgets them with the connection,
//! so the next one is told them again.

use std::collections::BTreeSet;

use ottla_coordination::WatchKind;

/// How many bytes of paths one `setWatches` carries at most, as in Java's client. A server drops a
/// connection whose frame is longer than its `jute.maxbuffer` (1 MiB unless set).
pub(crate) const CHUNK_BYTES: usize = 128 * 1024;

/// ZooKeeper's three tables of one-shot watches, by path.
#[derive(Default, Debug)]
pub(crate) struct Watches {
    data: BTreeSet<String>,
    /// Data watches of znodes that were not there.
    exist: BTreeSet<String>,
    children: BTreeSet<String>,
}

/// Which table a read arms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Table {
    Data,
    Exist,
    Children,
}

/// The paths of one `setWatches`.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Chunk<'a> {
    pub(crate) data: Vec<&'a str>,
    pub(crate) exist: Vec<&'a str>,
    pub(crate) children: Vec<&'a str>,
}

impl Watches {
    /// A read that asked for a watch was answered.
    pub(crate) fn arm(&mut self, table: Table, path: &str) {
        let table = match table {
            Table::Data => &mut self.data,
            Table::Exist => &mut self.exist,
            Table::Children => &mut self.children,
        };
        if !table.contains(path) {
            table.insert(path.to_owned());
        }
    }

    /// A watch has fired; gives whether one was armed. One deletion uses up all tables, although a
    /// server tells it once for each after a reconnection.
    pub(crate) fn fired(&mut self, kind: WatchKind, path: &str) -> bool {
        let data = kind != WatchKind::ChildrenChanged
            && (self.data.remove(path) | self.exist.remove(path));
        let children = matches!(kind, WatchKind::ChildrenChanged | WatchKind::Deleted)
            && self.children.remove(path);
        data | children
    }

    /// Everything, in chunks whose paths have at most `limit` bytes together (but one path at
    /// least); each path counts `overhead` bytes more.
    pub(crate) fn chunks(&self, limit: usize, overhead: usize) -> Vec<Chunk<'_>> {
        let mut chunks = Vec::new();
        let mut chunk = Chunk::default();
        let mut size = 0;
        let all = [
            (Table::Data, &self.data),
            (Table::Exist, &self.exist),
            (Table::Children, &self.children),
        ];
        for (table, path) in all
            .into_iter()
            .flat_map(|(table, paths)| paths.iter().map(move |path| (table, path)))
        {
            let more = path.len() + overhead;
            if size > 0 && size + more > limit {
                chunks.push(std::mem::take(&mut chunk));
                size = 0;
            }
            size += more;
            match table {
                Table::Data => chunk.data.push(path),
                Table::Exist => chunk.exist.push(path),
                Table::Children => chunk.children.push(path),
            }
        }
        if size > 0 {
            chunks.push(chunk);
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_counts_once_for_all_tables() {
        let mut watches = Watches::default();
        watches.arm(Table::Data, "/a");
        watches.arm(Table::Children, "/a");
        assert!(watches.fired(WatchKind::Deleted, "/a"));
        assert!(!watches.fired(WatchKind::Deleted, "/a"));
        assert!(watches.chunks(1, 0).is_empty());
    }

    #[test]
    fn each_kind_uses_up_its_own_table() {
        let mut watches = Watches::default();
        watches.arm(Table::Data, "/a");
        watches.arm(Table::Exist, "/b");
        watches.arm(Table::Children, "/a");
        assert!(!watches.fired(WatchKind::ChildrenChanged, "/b"));
        assert!(watches.fired(WatchKind::Created, "/b"));
        assert!(watches.fired(WatchKind::DataChanged, "/a"));
        assert!(watches.fired(WatchKind::ChildrenChanged, "/a"));
        assert!(!watches.fired(WatchKind::ChildrenChanged, "/a"));
    }

    #[test]
    fn chunks_hold_everything_and_no_more_than_the_limit() {
        let mut watches = Watches::default();
        for number in 0..100 {
            watches.arm(Table::Data, &format!("/d{number:03}"));
            watches.arm(Table::Children, &format!("/c{number:03}"));
        }
        watches.arm(Table::Exist, &format!("/{}", "x".repeat(200)));
        let chunks = watches.chunks(90, 4);
        let paths = |chunk: &Chunk<'_>| {
            let lists = [&chunk.data, &chunk.exist, &chunk.children];
            lists.into_iter().flatten().map(|p| p.len() + 4).collect()
        };
        let sizes: Vec<Vec<usize>> = chunks.iter().map(paths).collect();
        assert_eq!(sizes.iter().map(Vec::len).sum::<usize>(), 201);
        for size in &sizes {
            assert!(size.len() == 1 || size.iter().sum::<usize>() <= 90);
        }
    }
}
