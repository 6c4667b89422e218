//! What the tests of devices share: systems made of files, disks made of memory.

use super::disk::Disk;
use super::sys::linux::roots::Roots;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// A tree of files that looks like `/sys`, `/proc` and `/dev`.
pub struct System {
    root: tempfile::TempDir,
}

impl System {
    pub fn new() -> Self {
        let system = Self { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(system.root.path().join("sys/block")).unwrap();
        std::fs::create_dir_all(system.root.path().join("sys/class/block")).unwrap();
        std::fs::create_dir_all(system.root.path().join("dev")).unwrap();
        system.mounts("", "");
        system
    }

    pub fn roots(&self) -> Roots {
        Roots::at(self.root.path())
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }

    pub fn file(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn link(&self, path: &str, target: &str) {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    /// A whole disk of `sectors` at a place below `/sys/devices`.
    pub fn disk(&self, name: &str, number: &str, sectors: u64, place: &str) {
        let directory = format!("sys/devices/{place}/block/{name}");
        for (file, text) in [
            ("dev", number),
            ("size", &sectors.to_string()),
            ("ro", "0"),
            ("removable", "0"),
            ("diskseq", "7"),
            ("queue/logical_block_size", "512"),
        ] {
            self.file(&format!("{directory}/{file}"), &format!("{text}\n"));
        }
        for empty in ["holders", "slaves"] {
            std::fs::create_dir_all(self.root.path().join(&directory).join(empty)).unwrap();
        }
        self.link(&format!("sys/block/{name}"), &format!("../devices/{place}/block/{name}"));
        self.link(&format!("sys/class/block/{name}"), &format!("../../devices/{place}/block/{name}"));
        self.file(&format!("dev/{name}"), "");
    }

    pub fn usb_stick(&self, name: &str, number: &str, sectors: u64) {
        let usb = "pci0000:00/usb1/1-1";
        self.disk(name, number, sectors, &format!("{usb}/1-1:1.0/host2/target2:0:0/2:0:0:0"));
        self.file(&format!("sys/devices/{usb}/idVendor"), "0781\n");
        self.file(&format!("sys/devices/{usb}/serial"), "4C530001\n");
        let directory = format!("sys/class/block/{name}");
        self.file(&format!("{directory}/device/vendor"), "SanDisk \n");
        self.file(&format!("{directory}/device/model"), "Ultra           \n");
        self.file(&format!("{directory}/removable"), "1\n");
    }

    pub fn partition(&self, disk: &str, name: &str, number: &str, start: u64, sectors: u64) {
        let directory = format!("sys/class/block/{disk}/{name}");
        let (start, sectors) = (start.to_string(), sectors.to_string());
        for (file, text) in [("dev", number), ("start", &start), ("size", &sectors), ("ro", "0")] {
            self.file(&format!("{directory}/{file}"), &format!("{text}\n"));
        }
        std::fs::create_dir_all(self.root.path().join(&directory).join("holders")).unwrap();
        self.link(&format!("sys/class/block/{name}"), &format!("{disk}/{name}"));
        self.file(&format!("dev/{name}"), "");
    }

    pub fn mounts(&self, mountinfo: &str, swaps: &str) {
        self.file("proc/self/mountinfo", mountinfo);
        self.file("proc/swaps", &format!("Filename Type Size Used Priority\n{swaps}"));
    }
}

/// What a disk of memory does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails.
    Error(io::ErrorKind),
    /// The call fails with a number of the system.
    Raw(i32),
    /// The call does only that many bytes.
    Short(usize),
    /// A write is said to have been done and was not.
    Dropped,
    /// A bit of what is transferred is flipped.
    Flipped,
}

/// What was called on a disk of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Read(u64, usize),
    Write(u64, Vec<u8>),
    Sync,
}

/// What a fake card does with what lies beyond its real end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    Wrap,
    Drop,
}

struct State {
    bytes: Vec<u8>,
    calls: Vec<Call>,
    /// Calls so far, of any kind.
    count: usize,
}

/// A disk in memory that records what is done to it, and fails on demand.
pub struct MemoryDisk {
    state: Mutex<State>,
    len: u64,
    /// On which call, from 1; 0 is every one.
    fault: Option<(usize, Fault)>,
    stays: bool,
    real: Option<(u64, Beyond)>,
    cached: bool,
}

impl MemoryDisk {
    pub fn new(len: usize) -> Self {
        Self::of(vec![0xaa; len])
    }

    pub fn of(bytes: Vec<u8>) -> Self {
        let len = bytes.len() as u64;
        let state = Mutex::new(State { bytes, calls: Vec::new(), count: 0 });
        Self { state, len, fault: None, stays: false, real: None, cached: false }
    }

    /// The `call`-th call, from 1, goes wrong.
    pub fn fault_once(mut self, call: usize, fault: Fault) -> Self {
        self.fault = Some((call, fault));
        self
    }

    /// The `call`-th call and all after it go wrong.
    pub fn fault_from(mut self, call: usize, fault: Fault) -> Self {
        (self.fault, self.stays) = (Some((call, fault)), true);
        self
    }

    pub fn fault_always(self, fault: Fault) -> Self {
        self.fault_from(1, fault)
    }

    /// The card has only `real` bytes.
    pub fn fake(mut self, real: u64, beyond: Beyond) -> Self {
        self.real = Some((real, beyond));
        self
    }

    pub fn cached(mut self) -> Self {
        self.cached = true;
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.state().bytes);
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    pub fn count(&self) -> usize {
        self.state().count
    }

    fn fault(&self, state: &mut State) -> Option<Fault> {
        state.count += 1;
        let (at, fault) = self.fault?;
        let hits = if self.stays { state.count >= at } else { state.count == at };
        hits.then_some(fault)
    }

    /// Where a sector really is.
    fn place(&self, at: u64) -> Option<usize> {
        match self.real {
            Some((real, Beyond::Wrap)) => Some((at % real) as usize),
            Some((real, Beyond::Drop)) if at >= real => None,
            _ => Some(at as usize),
        }
    }
}

impl Disk for MemoryDisk {
    fn name(&self) -> String {
        "memory".into()
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        assert_eq!((offset % 512, buf.len() % 512), (0, 0), "a read is aligned");
        let mut state = self.state();
        let fault = self.fault(&mut state);
        state.calls.push(Call::Read(offset, buf.len()));
        let mut n = buf.len().min(self.len.saturating_sub(offset) as usize);
        match fault {
            Some(Fault::Error(kind)) => return Err(kind.into()),
            Some(Fault::Raw(code)) => return Err(io::Error::from_raw_os_error(code)),
            Some(Fault::Short(most)) => n = n.min(most),
            _ => {}
        }
        for (i, sector) in buf[..n].chunks_mut(512).enumerate() {
            match self.place(offset + i as u64 * 512) {
                Some(place) => sector.copy_from_slice(&state.bytes[place..place + sector.len()]),
                None => sector.fill(0),
            }
        }
        if fault == Some(Fault::Flipped) {
            buf[n / 2] ^= 4;
        }
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        assert_eq!((offset % 512, bytes.len() % 512), (0, 0), "a write is aligned");
        let mut state = self.state();
        let fault = self.fault(&mut state);
        let mut n = bytes.len().min(self.len.saturating_sub(offset) as usize);
        match fault {
            Some(Fault::Error(kind)) => return Err(kind.into()),
            Some(Fault::Raw(code)) => return Err(io::Error::from_raw_os_error(code)),
            Some(Fault::Short(most)) => n = n.min(most),
            Some(Fault::Dropped) => return Ok(n),
            _ => {}
        }
        let mut written = bytes[..n].to_vec();
        if fault == Some(Fault::Flipped) {
            written[n / 2] ^= 4;
        }
        for (i, sector) in written.chunks(512).enumerate() {
            if let Some(place) = self.place(offset + i as u64 * 512) {
                state.bytes[place..place + sector.len()].copy_from_slice(sector);
            }
        }
        state.calls.push(Call::Write(offset, written));
        Ok(n)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        let fault = self.fault(&mut state);
        state.calls.push(Call::Sync);
        match fault {
            Some(Fault::Error(kind)) => Err(kind.into()),
            Some(Fault::Raw(code)) => Err(io::Error::from_raw_os_error(code)),
            _ => Ok(()),
        }
    }

    fn bypasses_cache(&self) -> bool {
        !self.cached
    }
}
