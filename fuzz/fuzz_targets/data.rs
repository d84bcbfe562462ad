//! The readers of data sets take any bytes: they refuse them in one line, or they give images of the size that
//! they say. The first byte says which reader, the others are its file: a picture, MNIST's images, CIFAR-10's
//! archive before gzip, a shard behind its header, an array of NumPy, an archive of arrays.
//!
//! The checksums of gzip and of the shard are mended: what lies behind them is then reached.
//! `fuzz/seeds/data` holds a small file of each kind to start from, and archives that unpack to arrays of a
//! million channels, of 2^25 images, and of more labels or classes than the others have images. What such a
//! file takes is bounded too: run it with `-rss_limit_mb=1024`.
#![no_main]

use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;
use s3_train::data::decode::decode;
use s3_train::data::imagenet::make_shards;
use s3_train::data::{self, DataConfig, DataError, DataName, cifar, mnist};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

/// Bytes of a shard before its table.
const HEADER: usize = 8 + 32 + 8 + 4;

fuzz_target!(|bytes: &[u8]| {
    let Some((&reader, file)) = bytes.split_first() else {
        return;
    };
    match reader % 6 {
        0 => picture(file),
        1 => idx(file),
        2 => archive(file),
        3 => shard(file),
        4 => arrays(&["train_x.npy"], file),
        _ => arrays(&["train.npz", "test.npz"], file),
    }
});

fn one_line<T>(read: Result<T, DataError>) -> Option<T> {
    let refused = |e: DataError| assert_eq!(e.to_string().lines().count(), 1, "{e}");
    read.map_err(refused).ok()
}

fn picture(file: &[u8]) {
    match decode(file) {
        Ok(picture) => assert_eq!(picture.rgb.len(), 3 * picture.width * picture.height),
        Err(e) => assert_eq!(e.to_string().lines().count(), 1, "{e}"),
    }
}

fn idx(file: &[u8]) {
    static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let images = [
            &b"\0\0\x08\x03\0\0\0\x01\0\0\0\x1c\0\0\0\x1c"[..],
            &[7; 784],
        ]
        .concat();
        let labels = b"\0\0\x08\x01\0\0\0\x01\x05";
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes);
        write("train-labels-idx1-ubyte", labels).expect("labels");
        write("t10k-labels-idx1-ubyte", labels).expect("labels");
        write("t10k-images-idx3-ubyte", &images).expect("images");
        folder
    });
    fs::write(FOLDER.path().join("train-images-idx3-ubyte"), file).expect("a file");
    if let Some((train, _)) = one_line(mnist::load(FOLDER.path())) {
        assert_eq!(train.images.bytes().len(), 784 * train.len());
    }
}

fn archive(tar: &[u8]) {
    static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));
    let mut packed = GzEncoder::new(Vec::new(), Compression::none());
    packed.write_all(tar).expect("memory");
    let packed = packed.finish().expect("memory");
    fs::write(FOLDER.path().join("cifar-10-binary.tar.gz"), packed).expect("a file");
    one_line(cifar::load(FOLDER.path()));
}

/// An array of NumPy as long as its header says.
fn npy(descr: &str, shape: &str, numbers: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (text.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &length[..], text.as_bytes(), numbers].concat()
}

/// The training images beside a test set of one image of 2x2 floats, or both splits.
fn arrays(names: &[&str], file: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let place = folder.path().join("arrays");
        fs::create_dir_all(&place).expect("a folder");
        fs::write(place.join(name), bytes).expect("a file");
    };
    if let [_] = names {
        write("test_x.npy", &npy("<f4", "(1, 2, 2)", &[0; 16]));
        write("test_y.npy", &npy("|u1", "(1,)", &[0]));
        write("train_y.npy", &npy("|u1", "(1,)", &[0]));
    }
    names.iter().for_each(|name| write(name, file));
    let config = DataConfig::of(DataName::Arrays);
    one_line(data::arrays::shape(&config, folder.path()));
    if let Some(splits) = one_line(data::load(&config, Some(folder.path()))) {
        for index in 0..splits.train.len() {
            let image = splits.train.image(index).expect("in memory");
            assert_eq!(image.len(), splits.train.image_len());
        }
    }
}

/// Two pictures a split, their shards, and the bytes of the training split's.
static SHARDS: LazyLock<(TempDir, DataConfig, Vec<u8>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    for (split, class) in [("train", "a"), ("train", "b"), ("val", "a"), ("val", "b")] {
        let class = folder.path().join("pets").join(split).join(class);
        fs::create_dir_all(&class).expect("a folder");
        fs::write(class.join("0.ppm"), b"P6 2 2 255 abcdefghijkl").expect("a picture");
    }
    let config = DataConfig {
        folder: Some("pets".to_owned()),
        size: Some(2),
        shards: true,
        ..DataConfig::of(DataName::Imagenet)
    };
    let stop = AtomicBool::new(false);
    make_shards(&config, folder.path(), &stop, |_| |_| ()).expect("shards");
    let shard = fs::read(path(folder.path())).expect("a shard");
    (folder, config, shard)
});

fn path(folder: &Path) -> std::path::PathBuf {
    folder.join("pets.shards-2/train-00000.shard")
}

fn shard(behind: &[u8]) {
    let (folder, config, whole) = &*SHARDS;
    let mut bytes = [&whole[..HEADER], behind].concat();
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    fs::write(path(folder.path()), bytes).expect("a file");
    let Some(splits) = one_line(data::load(config, Some(folder.path()))) else {
        return;
    };
    for index in 0..splits.train.len() {
        if let Some(image) = one_line(splits.train.image(index)) {
            assert_eq!(image.len(), 3 * 2 * 2);
        }
    }
}
