//! What composing out of a `file://` cache of zstd takes at the least: each packed NAR is read and hashed, decoded, hashed
//! again and written, by the crates that nixflash uses; no narinfo, no tree, no file system. Called by `benches/caches`.
//!
//! usage: limit CACHE OUT THREADS

use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const BUFFER: usize = 128 << 10;

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    sha256: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(out)?;
        self.sha256.update(&out[..len]);
        Ok(len)
    }
}

/// Does the work for one NAR, and gives its hashes so that nobody can leave them out.
fn nar(path: &Path, out: &File, end: &AtomicU64) -> io::Result<[u8; 2]> {
    let packed = Hashing { inner: File::open(path)?, sha256: Sha256::new() };
    let mut decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(BUFFER, packed))?;
    let (mut nar, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
    loop {
        let len = decoder.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        nar.update(&buffer[..len]);
        let at = end.fetch_add(u64::try_from(len).unwrap_or(u64::MAX), Ordering::Relaxed);
        out.write_all_at(&buffer[..len], at)?;
    }
    let mut rest = decoder.finish();
    if !rest.fill_buf()?.is_empty() {
        return Err(io::Error::other(format!("{}: bytes behind the frame", path.display())));
    }
    Ok([rest.into_inner().sha256.finalize()[0], nar.finalize()[0]])
}

fn main() -> io::Result<()> {
    // `cargo bench` adds an option of its own.
    let args: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let [cache, out, threads] = &args[..] else {
        return Err(io::Error::other("usage: limit CACHE OUT THREADS"));
    };
    let threads: usize = threads.parse().map_err(io::Error::other)?;
    let listed = fs::read_dir(Path::new(cache).join("nar"))?;
    let mut nars: Vec<PathBuf> = listed.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    nars.retain(|path| path.extension().is_some_and(|extension| extension == "zst"));
    nars.sort();
    let (out, end, next) = (File::create(out)?, AtomicU64::new(0), AtomicUsize::new(0));
    let work = || {
        let mut seen = 0;
        while let Some(path) = nars.get(next.fetch_add(1, Ordering::Relaxed)) {
            seen ^= nar(path, &out, &end)?.into_iter().fold(0, |a, b| a ^ b);
        }
        io::Result::Ok(seen)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            // cannot fail: a worker returns its errors
            std::hint::black_box(worker.join().expect("a worker does not panic")?);
        }
        Ok(())
    })
}
