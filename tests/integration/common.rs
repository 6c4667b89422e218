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

/// A loop device that goes away.
pub struct Loop {
    /// The program that detaches it.
    pub losetup: Tool,
    /// Its node.
    pub path: PathBuf,
}

impl Loop {
    /// Attaches a file; `None`, having said so, where that cannot be done.
    pub fn attach(file: &Path, options: &[&str]) -> Option<Self> {
        let losetup = Tool::find("losetup")?;
        let file = file.to_str().unwrap();
        let output = losetup.run(&[options, &["--find", "--show", file]].concat());
        if !output.status.success() {
            skip(&format!("no loop device: {}", String::from_utf8_lossy(&output.stderr).trim()));
            return None;
        }
        let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        Some(Self { losetup, path })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.losetup.run(&["--detach", self.path.to_str().unwrap()]);
    }
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
        write_extent(layout, index, extent, (&file, dirt.is_some()), content);
    }
    assert!(last <= layout.len(), "the last extent ends at {last}, the layout at {}", layout.len());
}

fn write_extent<C: Copy>(
    layout: &impl Layout<C>,
    index: usize,
    extent: &Extent<C>,
    (file, dirty): (&File, bool),
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

/// The program under test.
pub fn nixflash() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nixflash"));
    command.env_remove("SOURCE_DATE_EPOCH").stdin(std::process::Stdio::null());
    command
}

/// What a run of a program gave, as text.
pub struct Run {
    /// Exit status.
    pub code: i32,
    /// Standard output.
    pub out: Vec<u8>,
    /// Standard error.
    pub err: String,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The SHA-256 of a file.
pub fn sha256(path: &Path) -> String {
    use sha2::Digest;
    use std::io::Read;
    let (mut file, mut hasher, mut buf) = (File::open(path).unwrap(), sha2::Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buf).unwrap() {
            0 => return hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            len => hasher.update(&buf[..len]),
        }
    }
}

/// The demo closure in every form, made once for all tests by `tests/fixtures/make-demo`.
pub struct Demo {
    /// `root/` is a chroot store with database and registration; `cache-KIND/` are caches.
    pub dir: tempfile::TempDir,
    /// The toplevel.
    pub top: String,
}

/// The demo closure; `None`, and a line that says so, where python3 or zstd is missing.
pub fn demo() -> Option<&'static Demo> {
    static DEMO: std::sync::OnceLock<Option<Demo>> = std::sync::OnceLock::new();
    DEMO.get_or_init(|| {
        let (python, _zstd) = (Tool::find("python3")?, Tool::find("zstd")?);
        let dir = temp();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/make-demo");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let mut top = python.passes(&[script, "--root", &at("root")]);
        for kind in ["none", "xz", "zstd", "bzip2"] {
            top = python.passes(&[script, "--cache", &at(&format!("cache-{kind}")), "--compression", kind]);
        }
        python.passes(&[script, "--root", &at("changed"), "--change", "quirks=x"]);
        Some(Demo { top: top.trim().to_owned(), dir })
    })
    .as_ref()
}

impl Demo {
    /// A path in the directory, as text.
    pub fn at(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A compose command for a board, from the store, to a file.
    pub fn compose(&self, board: &str, store: &str, output: &Path) -> Command {
        let mut command = nixflash();
        command.args(["-q", "compose", board, "--system", &self.top, "--store", store, "-o"]).arg(output);
        command
    }
}

/// The partitions of an image by sfdisk: start and length in bytes.
pub fn partitions(image: &Path) -> Option<Vec<(u64, u64)>> {
    let text = Tool::find("sfdisk")?.passes(&["-J", image.to_str().unwrap()]);
    let table: serde_json::Value = serde_json::from_str(&text).unwrap();
    let list = table["partitiontable"]["partitions"].as_array().unwrap();
    let sectors = |partition: &serde_json::Value, key: &str| partition[key].as_u64().unwrap() * 512;
    Some(list.iter().map(|partition| (sectors(partition, "start"), sectors(partition, "size"))).collect())
}

/// Copies a partition out of an image, holes as holes.
pub fn cut(image: &Path, (start, len): (u64, u64), to: &Path) {
    let (from, out) = (File::open(image).unwrap(), File::create(to).unwrap());
    out.set_len(len).unwrap();
    let mut buf = vec![0; 1 << 20];
    let mut at = 0;
    while at < len {
        let now = (len - at).min(1 << 20) as usize;
        from.read_exact_at(&mut buf[..now], start + at).unwrap();
        if buf[..now].iter().any(|byte| *byte != 0) {
            out.write_all_at(&buf[..now], at).unwrap();
        }
        at += now as u64;
    }
}

/// Whether tests run as root, who may mount.
pub fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip("not root, so nothing can be mounted");
    }
    root
}

/// A mounted image; unmounted when dropped.
pub struct Mount {
    /// Where.
    pub dir: tempfile::TempDir,
}

impl Mount {
    /// Mounts an ext4 image through a loop device.
    pub fn new(image: &Path, options: &str) -> Option<Self> {
        let dir = temp();
        let output =
            Tool::find("mount")?.run(&["-o", options, image.to_str().unwrap(), dir.path().to_str().unwrap()]);
        if !output.status.success() {
            skip(&format!("mount: {}", String::from_utf8_lossy(&output.stderr)));
            return None;
        }
        Some(Self { dir })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(tool) = Tool::find("umount") {
            tool.run(&[self.dir.path().to_str().unwrap()]);
        }
    }
}
