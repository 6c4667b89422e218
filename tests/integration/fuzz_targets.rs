//! Readers of foreign bytes, one row each: a name, seeds, and what is done with bytes that anyone may have written.
//!
//! A target may refuse its input; it must end, and must not panic.

use nixflash::format::boot::{bootspec, cpio, extlinux, fstab, systemd_boot};
use nixflash::format::disk::partition_table;
use nixflash::format::file::bmap::BlockMap;
use nixflash::format::file::minisign;
use nixflash::format::file::sums::parse_sha256;
use nixflash::format::nix::{listing, nar, narinfo::NarInfo, path_info, registration};
use nixflash::image::recognise::recognise;
use nixflash::stream::decompress::Compression;
use std::io::{Cursor, Read, Write};

/// One reader.
pub struct Target {
    /// What it reads.
    pub name: &'static str,
    /// Well-formed inputs.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Reads an input.
    pub run: fn(&[u8]),
}

/// The most that is unpacked of one input, in bytes.
const MOST: u64 = 4 << 20;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn nar_seed() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    nar::Framing::start(&mut out);
    nar::Framing::file(&mut out, true, 11);
    out.extend(b"hello world");
    nar::Framing::file_end(&mut out, 11);
    vec![out]
}

fn run_nar(bytes: &[u8]) {
    let mut reader = nar::Reader::new(bytes);
    while let Ok(Some(event)) = reader.next_event() {
        if matches!(event, nar::Event::File { .. }) {
            while let Ok(chunk) = reader.chunk() {
                let len = chunk.len();
                if len == 0 {
                    break;
                }
                reader.consume(len);
            }
        }
    }
}

fn packed_seeds() -> Vec<Vec<u8>> {
    let data: Vec<u8> = (0..3000_u32).map(|n| (n / 7) as u8).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&data).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
    xz.write_all(&data).unwrap();
    let mut bzip = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip.write_all(&data).unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(&data).unwrap();
    vec![
        gzip.finish().unwrap(),
        xz.finish().unwrap(),
        bzip.finish().unwrap(),
        lz4.finish().unwrap(),
        zstd::encode_all(&data[..], 1).unwrap(),
        zip_seed(),
    ]
}

/// An archive with a stored file and its directory.
fn zip_seed() -> Vec<u8> {
    let (name, data) = (b"pi.img", b"an image");
    let crc = crc32fast::hash(data).to_le_bytes();
    let len = (data.len() as u32).to_le_bytes();
    let head = [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &crc, &len, &len, &[6, 0, 0, 0]].concat();
    let local = [&b"PK\x03\x04"[..], &head, name, data].concat();
    let entry = [&b"PK\x01\x02\x14\0"[..], &head, &[0; 14], name].concat();
    let (size, at) = ((entry.len() as u32).to_le_bytes(), (local.len() as u32).to_le_bytes());
    let end = [&b"PK\x05\x06\0\0\0\0\x01\0\x01\0"[..], &size, &at, &[0, 0]].concat();
    [local, entry, end].concat()
}

fn run_packed(bytes: &[u8]) {
    let kind = Compression::sniff(bytes);
    if let Ok(reader) = kind.open(Box::new(Cursor::new(bytes.to_vec()))) {
        drop(reader.take(MOST).read_to_end(&mut Vec::new()));
    }
}

fn table_seeds() -> Vec<Vec<u8>> {
    let mut mbr = vec![0; 64 << 10];
    mbr[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 32, 0, 0, 0]);
    mbr[462..478].copy_from_slice(&[0, 0, 0, 0, 5, 0, 0, 0, 64, 0, 0, 0, 32, 0, 0, 0]);
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut gpt = vec![0; 64 << 10];
    gpt[446..462].copy_from_slice(&[0, 0, 0, 0, 0xee, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255]);
    gpt[510..512].copy_from_slice(&[0x55, 0xaa]);
    gpt[512..524].copy_from_slice(b"EFI PART\0\0\x01\0");
    gpt[524] = 92;
    vec![mbr, gpt]
}

fn cpio_seed() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (name, data) in [("init", &b"#!/bin/sh\n"[..]), ("TRAILER!!!", b"")] {
        let fields = [1, 0o100_644, 0, 0, 1, 1, data.len(), 0, 0, 0, 0, name.len() + 1, 0];
        out.extend(b"070701");
        out.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
        out.extend(name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(data);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    vec![out]
}

fn run_cpio(bytes: &[u8]) {
    let mut visit =
        |_: &cpio::Entry, contents: &mut dyn Read| contents.take(MOST).read_to_end(&mut Vec::new()).map(drop);
    drop(cpio::read(Box::new(Cursor::new(bytes.to_vec())), &mut visit));
}

const NARINFO: &str = "StorePath: /nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-x\nURL: nar/x.nar\nCompression: none\n\
    NarHash: sha256:00xyyr3fi8l6hb839bv3f7yb86yjv7xi1cgh1xnhipym4asvb4aq\nNarSize: 120\n\
    References: 3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-x\nSig: a-1:AAAA\n";
const LISTING: &str = r#"{"version":1,"root":{"type":"directory","entries":{"a":{"type":"regular","size":5,"narOffset":400},"b":{"type":"symlink","target":"a"}}}}"#;
const REGISTRATION: &str = "/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-x\n0000000000000000000000000000000000000000000000000000000000000000\n120\n\n1\n/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-x\n";
const PATH_INFO: &str = r#"{"/nix/store/3q4sz9v0ifqq6r8v5v1l21blqhbsiga3-x":{"narHash":"sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","narSize":120,"references":[]}}"#;
const FSTAB: &str = "# a\n/dev/disk/by-label/A\\x20B / ext4 x-initrd.mount,noatime 0 1\nUUID=ABCD-1234 /boot vfat nofail 0 2\n";
const EXTLINUX: &str = "DEFAULT nixos-default\nTIMEOUT 50\n\nLABEL nixos-default\n  MENU LABEL NixOS\n  LINUX ../nixos/k\n  INITRD ../nixos/i\n  APPEND init=/x a=b\n  FDTDIR ../nixos/d\n";
const SYSTEMD_BOOT: &str = "title NixOS\nversion Generation 1 x, built on 2026-01-01\nlinux /EFI/nixos/k.efi\ninitrd /EFI/nixos/i.efi\noptions init=/x root=fstab\n";
const BOOTSPEC: &str = r#"{"org.nixos.bootspec.v1":{"system":"aarch64-linux","label":"l","toplevel":"/t","init":"/t/init","kernel":"/k","kernelParams":["a"],"initrd":"/i"}}"#;
const BMAP: &str = "<?xml version=\"1.0\" ?><bmap version=\"2.0\"><ImageSize> 8192 </ImageSize><BlockSize> 4096 </BlockSize><BlockMap><Range> 0-1 </Range></BlockMap></bmap>";
const SUMS: &str = "# sums\n0000000000000000000000000000000000000000000000000000000000000000  pi.img\nSHA256 (b.img) = 1111111111111111111111111111111111111111111111111111111111111111\n";
const KEY: &str = "untrusted comment: a key\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";

/// Every reader.
pub const TARGETS: [Target; 15] = [
    Target { name: "NAR", seeds: nar_seed, run: run_nar },
    Target { name: "packed streams and zip", seeds: packed_seeds, run: run_packed },
    Target { name: "recognition", seeds: table_seeds, run: |bytes| drop(format!("{:?}", recognise(bytes))) },
    Target { name: "partition tables", seeds: table_seeds, run: |bytes| drop(partition_table::read(&bytes)) },
    Target { name: "cpio", seeds: cpio_seed, run: run_cpio },
    Target {
        name: "narinfo",
        seeds: || vec![NARINFO.into()],
        run: |bytes| drop(NarInfo::parse(&text(bytes))),
    },
    Target {
        name: "listing",
        seeds: || vec![LISTING.into()],
        run: |bytes| drop(listing::parse(bytes, 10_000, &nar::Room::default())),
    },
    Target {
        name: "registration",
        seeds: || vec![REGISTRATION.into()],
        run: |bytes| drop(registration::parse(&text(bytes))),
    },
    Target {
        name: "path-info",
        seeds: || vec![PATH_INFO.into()],
        run: |bytes| drop(path_info::parse(bytes)),
    },
    Target { name: "fstab", seeds: || vec![FSTAB.into()], run: |bytes| drop(fstab::parse(&text(bytes))) },
    Target {
        name: "boot entries",
        seeds: || vec![EXTLINUX.into(), SYSTEMD_BOOT.into()],
        run: |bytes| {
            let text = text(bytes);
            drop(extlinux::parse(&text));
            drop(systemd_boot::parse(&text));
        },
    },
    Target { name: "bootspec", seeds: || vec![BOOTSPEC.into()], run: |bytes| drop(bootspec::parse(bytes)) },
    Target {
        name: "block map",
        seeds: || vec![BMAP.into()],
        run: |bytes| drop(BlockMap::parse(&text(bytes))),
    },
    Target {
        name: "sums",
        seeds: || vec![SUMS.into()],
        run: |bytes| drop(parse_sha256(&text(bytes), "b.img")),
    },
    Target {
        name: "minisign",
        seeds: || vec![KEY.into()],
        run: |bytes| drop(minisign::PublicKey::parse(&text(bytes))),
    },
];
