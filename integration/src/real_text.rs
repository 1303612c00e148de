//! Text that people wrote, as every machine that runs the tests has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whole lines of at least `size` bytes in all: the package descriptions that apt keeps, without
/// blank lines (kcat skips them); where apt keeps too little, the sources of this repository's
/// dependencies serve as well.
pub fn real_text(size: usize) -> Vec<u8> {
    let mut files: Vec<PathBuf> = Vec::new();
    if let Ok(entries) = fs::read_dir("/var/lib/apt/lists") {
        files.extend(entries.flatten().map(|e| e.path()).filter(|p| {
            p.to_string_lossy().contains("_Packages")
                || p.to_string_lossy().contains("_Translation")
        }));
    }
    files.sort();
    let mut text = Vec::with_capacity(size + 4096);
    for file in files {
        append(&mut text, &read(&file), size);
        if text.len() >= size {
            return text;
        }
    }
    let registry = PathBuf::from(
        std::env::var("CARGO_HOME")
            .unwrap_or_else(|_| format!("{}/.cargo", std::env::var("HOME").expect("a home"))),
    )
    .join("registry/src");
    let mut folders = vec![registry];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<PathBuf> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let file_text = fs::read(&path).expect("a source file");
                append(&mut text, &file_text, size);
                if text.len() >= size {
                    return text;
                }
            }
        }
    }
    panic!("only {} bytes of real text on this machine", text.len());
}

/// A file's text; apt keeps its lists compressed on some machines.
fn read(path: &Path) -> Vec<u8> {
    if path.extension().is_some_and(|e| e == "lz4") {
        let helper = Command::new("/usr/lib/apt/apt-helper")
            .arg("cat-file")
            .arg(path)
            .output();
        return helper.map(|output| output.stdout).unwrap_or_default();
    }
    fs::read(path).unwrap_or_default()
}

fn append(text: &mut Vec<u8>, more: &[u8], size: usize) {
    for line in more.split(|b| *b == b'\n') {
        let printable = std::str::from_utf8(line).is_ok_and(|l| !l.contains('\r'));
        if text.len() < size && !line.trim_ascii().is_empty() && printable {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
    }
}
