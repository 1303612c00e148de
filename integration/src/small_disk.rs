//! A file system that is soon full. Needs to be root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command;

const DEADLINE: Duration = Duration::from_secs(180);
const FILLER: &str = "filler";

/// A tmpfs; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Makes one at a directory, or tells why this machine cannot.
    pub fn mount(at: PathBuf, megabytes: u32) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&at)?;
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at);
        command::run(&mut mount, b"", DEADLINE)?;
        Ok(Self(at))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves no room at all, until [`Self::make_room`].
    pub fn fill(&self) -> anyhow::Result<()> {
        use std::io::Write as _;
        let mut filler = std::fs::File::create(self.0.join(FILLER))?;
        // Ends with the disk being full.
        while filler.write(&[b'x'; 4096]).is_ok_and(|written| written > 0) {}
        Ok(())
    }

    /// Gives the room back that [`Self::fill`] took.
    pub fn make_room(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.0.join(FILLER))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Nothing else can be done about a failure here.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
