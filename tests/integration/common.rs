//! What the tests share: judges, temporary directories, images out of layouts.

use nixflash::extent::{Extent, Fill, Layout};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory that goes away.
pub fn temp() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A program that judges.
#[derive(Clone)]
pub struct Tool {
    path: PathBuf,
}

impl Tool {
    /// Finds a program; says so and gives `None` when it is not there, or fails where it must be.
    pub fn find(name: &str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
        let found =
            std::env::split_paths(&path).chain(extra).map(|dir| dir.join(name)).find(|file| file.is_file());
        if found.is_none() {
            skip(&format!("{name} not found"));
        }
        found.map(|path| Self { path })
    }

    /// Runs it.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let run = Command::new(&self.path).args(arguments).env("LC_ALL", "C").output();
        run.unwrap_or_else(|error| panic!("{}: {error}", self.path.display()))
    }

    /// Runs it and demands exit status 0; gives what it printed.
    pub fn passes(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{} {arguments:?}: {}\n{text}", self.path.display(), output.status);
        text
    }
}

/// Says that a check did not happen, or fails where all must.
pub fn skip(why: &str) {
    assert!(std::env::var_os("NIXFLASH_REQUIRE_TOOLS").is_none(), "{why}, and NIXFLASH_REQUIRE_TOOLS is set");
    println!("skipped: {why}");
}

/// Writes a layout into a file: over zeros, or over a file filled with `dirt`, in which what is don't care stays dirty.
pub fn image_of<C: Copy>(
    layout: &impl Layout<C>,
    path: &Path,
    dirt: Option<u8>,
    content: &dyn Fn(C, u64, u64) -> Vec<u8>,
) {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    file.set_len(layout.len()).unwrap();
    let chunk = 1 << 20;
    if let Some(dirt) = dirt {
        // Dirt where it may hurt: in what the layout covers and the MiB after each piece of it, not all over 64 GB.
        let fill = vec![dirt; chunk];
        for extent in layout.extents() {
            let end = (extent.offset + extent.len + chunk as u64).min(layout.len());
            let mut at = extent.offset;
            while at < end {
                let len = fill.len().min((end - at) as usize);
                file.write_all_at(&fill[..len], at).unwrap();
                at += len as u64;
            }
        }
    }
    let mut last = 0;
    for (index, extent) in layout.extents().iter().enumerate() {
        assert!(extent.offset >= last && extent.len > 0, "extents ascend: {last} {}", extent.offset);
        last = extent.offset + extent.len;
        write_extent(layout, index, extent, &file, dirt.is_some(), content);
    }
    assert!(last <= layout.len(), "the last extent ends at {last}, the layout at {}", layout.len());
}

fn write_extent<C: Copy>(
    layout: &impl Layout<C>,
    index: usize,
    extent: &Extent<C>,
    file: &File,
    dirty: bool,
    content: &dyn Fn(C, u64, u64) -> Vec<u8>,
) {
    let zeros = |from: u64, to: u64| {
        if dirty {
            let fill = vec![0; 1 << 20];
            let mut at = from;
            while at < to {
                let len = fill.len().min((to - at) as usize);
                file.write_all_at(&fill[..len], at).unwrap();
                at += len as u64;
            }
        }
    };
    match extent.fill {
        Fill::Zeros => zeros(extent.offset, extent.offset + extent.len),
        Fill::Encoded => {
            let mut out = vec![0x55; extent.len as usize];
            layout.encode(index, &mut out);
            file.write_all_at(&out, extent.offset).unwrap();
        }
        Fill::Content { content: which, at, len } => {
            let mut done = 0;
            while done < len {
                let now = (len - done).min(1 << 20);
                file.write_all_at(&content(which, at + done, now), extent.offset + done).unwrap();
                done += now;
            }
            zeros(extent.offset + len, extent.offset + extent.len);
        }
    }
}
