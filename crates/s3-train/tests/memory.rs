//! What a file may ask for is bounded: the peak of this process's memory while small files are read
//! that unpack to gigabytes. One test, as a process has one peak.

#![allow(clippy::print_stderr, reason = "a skipped test says why")]

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use s3_train::data::decode::decode;
use s3_train::data::{self, DataConfig, DataName};
use std::io::Write;
use std::path::Path;

/// What reading one of these files may take, in MiB. A profile is unpacked into 16 MiB at most, an
/// archive's name not at all; what is left is buffers and what the allocator keeps.
const ALLOWED: u64 = 96;

/// What each of these files unpacks to, in MiB: far more.
const ASKED: usize = 512;

/// The peak of this process's memory so far in MiB, where the system tells.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes / 1024)
}

/// `ASKED` MiB of zeros, packed without ever being held.
fn packed<W: Write>(mut packer: W) -> W {
    let zeros = vec![0; 1 << 20];
    (0..ASKED).for_each(|_| packer.write_all(&zeros).expect("a vector takes all"));
    packer
}

/// An image of 8x8 pixels with a colour profile of `ASKED` MiB.
fn profile() -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    let image = image::RgbImage::from_pixel(8, 8, image::Rgb([9, 8, 7]));
    let written = image.write_to(&mut png, image::ImageFormat::Png);
    written.expect("a picture");
    let png = png.into_inner();
    let zlib = packed(ZlibEncoder::new(Vec::new(), Compression::fast()));
    let content = [&b"p\0\0"[..], &zlib.finish().expect("a vector")].concat();
    let body = [&b"iCCP"[..], &content].concat();
    let (length, sum) = (content.len() as u32, crc32fast::hash(&body));
    let (before, behind) = png.split_at(8 + 25);
    [
        before,
        &length.to_be_bytes(),
        &body,
        &sum.to_be_bytes(),
        behind,
    ]
    .concat()
}

/// An archive whose first entry announces a name, or an extended header, of `ASKED` MiB.
fn archive(folder: &Path, kind: tar::EntryType) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_path("x").expect("a path");
    header.set_size((ASKED as u64) << 20);
    header.set_cksum();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(header.as_bytes()).expect("a vector");
    let bytes = packed(gzip).finish().expect("a vector");
    let name = "cifar-10-binary.tar.gz";
    std::fs::write(folder.join(name), bytes).expect("an archive");
}

/// An array that is all zeros, and in its file a hole.
fn zeros(path: &Path, descr: &str, shape: &str, bytes: u64) {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (text.len() as u16).to_le_bytes();
    let header = [b"\x93NUMPY\x01\0", &length[..], text.as_bytes()].concat();
    let mut file = std::fs::File::create(path).expect("a file");
    file.write_all(&header).expect("its header");
    let whole = header.len() as u64 + bytes;
    file.set_len(whole).expect("its length");
}

#[test]
fn small_files_that_unpack_to_much_take_little_memory() {
    let image = profile();
    assert!(image.len() < 4 << 20);
    let folder = tempfile::tempdir().expect("a folder");
    let Some(before) = peak() else {
        eprintln!("skipped: this system has no /proc/self/status");
        return;
    };
    let within = |what: &str| {
        let now = peak().expect("it was there");
        assert!(now < before + ALLOWED, "{what}: {before} MiB, then {now}");
    };
    let image = decode(&image).expect("a picture");
    assert_eq!((image.width, image.height), (8, 8));
    within("a picture's profile");
    let config: DataConfig = toml::from_str("name = \"cifar10\"").expect("a configuration");
    assert_eq!(config.name, DataName::Cifar10);
    for kind in [tar::EntryType::GNULongName, tar::EntryType::XHeader] {
        archive(folder.path(), kind);
        assert!(
            data::load(&config, Some(folder.path())).is_err(),
            "{kind:?}"
        );
        within("an archive's name");
    }
    // What belongs to each channel, and to each label, is a few bytes.
    let config: DataConfig = toml::from_str("name = \"arrays\"").expect("a configuration");
    let arrays = folder.path().join("arrays");
    std::fs::create_dir(&arrays).expect("a folder");
    for (images, channels) in [(2, 1u64 << 20), (1 << 22, 1)] {
        for split in ["train", "test"] {
            let path = |array: &str| arrays.join(format!("{split}_{array}.npy"));
            let shape = format!("({images}, {channels})");
            zeros(&path("x"), "|u1", &shape, images * channels);
            zeros(&path("y"), "|u1", &format!("({images},)"), images);
        }
        let splits = data::load(&config, Some(folder.path())).expect("arrays");
        assert_eq!(splits.train.mean.len() as u64, channels);
        within("channels and labels");
    }
}
