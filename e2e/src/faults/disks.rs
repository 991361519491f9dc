//! Disks of which a copy can be taken as a power cut would leave them.
//!
//! A disk is a file system within a file system, each over a loop device:
//!
//! ```text
//! replica's files                       what was written and not flushed is in this file system's page cache
//!   ext4 "data"    on a loop device over <cache>/medium
//!   ext4 "cache"   on a loop device over <store>/<disk>     the disk's volatile write cache: its page cache
//!   ext4 "store"   on a loop device over a file in memory   what reaches <disk> has reached the medium
//! ```
//!
//! An fdatasync of a replica becomes writes and a flush of the loop device of "data", which the kernel makes an fsync of
//! `medium`, which becomes writes and a flush of the device of "cache". What the kernel has not written back from either
//! page cache, because nobody asked for a flush and its own time has not come, is not in `<disk>`: neither a write
//! without a flush nor one that was only sent to the device (sync_file_range) is. What was written back early is there,
//! as on a real disk.
//!
//! A cut freezes "store" and copies every `<disk>` of it: no write reaches any of them meanwhile, so the copies are of
//! one moment, and in the order in which the disk was written. The copies are mounted as after a power cut, by replaying
//! the journal of "data". "cache" has none: all of `medium` is allocated and flushed before it is used, so its own
//! blocks never change.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::frozen::Frozen;
use super::system;

/// The size of a disk, in MiB: three segments of a log and what is beside them.
const MEDIUM_MIB: u64 = 112;

/// What "cache" needs beside that.
const AROUND_MIB: u64 = 16;

/// Several disks, one for each place where one is mounted. Dropped, they are unmounted.
#[derive(Debug)]
pub struct Disks {
    directory: PathBuf,
    places: Vec<PathBuf>,
    cuts: usize,
}

/// The copies of all disks at one moment.
#[derive(Debug)]
pub struct PowerCut(Vec<PathBuf>);

impl Disks {
    /// Makes disks, and mounts one at each of the `places`. What they consist of is in `directory`, which must not
    /// exist.
    ///
    /// # Errors
    /// When something can't be made or mounted.
    pub fn mount(directory: PathBuf, places: Vec<PathBuf>) -> Result<Self> {
        let disks = Self {
            directory,
            places,
            cuts: 0,
        };
        for name in ["memory", "store"] {
            std::fs::create_dir_all(disks.directory.join(name))?;
        }
        let (memory, store) = (disks.memory(), disks.store());
        system::run("mount", [Path::new("-ttmpfs"), Path::new("tmpfs"), &memory])?;
        let count = disks.places.len() as u64;
        let image = memory.join("store");
        sparse(&image, (count + 1) * (MEDIUM_MIB + AROUND_MIB))?;
        make_file_system(&image, Journal::No)?;
        mount(&image, &store)?;
        for number in 0..disks.places.len() {
            disks.make(number)?;
        }
        Ok(disks)
    }

    fn make(&self, number: usize) -> Result<()> {
        let disk = self.store().join(number.to_string());
        sparse(&disk, MEDIUM_MIB + AROUND_MIB)?;
        make_file_system(&disk, Journal::No)?;
        let cache = self.cache(number);
        std::fs::create_dir_all(&cache)?;
        mount(&disk, &cache)?;
        let medium = cache.join("medium");
        let mut file = File::create(&medium)?;
        let zeros = vec![0; 1 << 20];
        for _ in 0..MEDIUM_MIB {
            file.write_all(&zeros)?;
        }
        file.sync_all()?;
        make_file_system(&medium, Journal::Yes)?;
        File::open(&medium)?.sync_all()?;
        let place = &self.places[number];
        std::fs::create_dir_all(place)?;
        mount(&medium, place)?;
        // A replica takes an empty directory only.
        std::fs::remove_dir(place.join("lost+found"))?;
        system::run("sync", [Path::new("-f"), place.as_path()])
    }

    /// Copies every disk as it would be after a power cut now. The disks go on.
    ///
    /// # Errors
    /// When a copy can't be made.
    pub fn cut(&mut self) -> Result<PowerCut> {
        self.cuts += 1;
        let copies = self.memory().join(format!("cut-{}", self.cuts));
        std::fs::create_dir(&copies)?;
        let frozen = Frozen::new(self.store())?;
        let copies = (0..self.places.len()).map(|number| {
            let copy = copies.join(number.to_string());
            let disk = self.store().join(number.to_string());
            system::run("cp", [Path::new("--sparse=always"), &disk, &copy])?;
            Ok(copy)
        });
        let copies = copies.collect::<Result<_>>()?;
        frozen.thaw()?;
        Ok(PowerCut(copies))
    }

    /// Puts the copies where the disks were. Nothing may have a file open there.
    ///
    /// # Errors
    /// When one can't be mounted: its file system is beyond what its journal mends.
    pub fn put_in_place(&mut self, cut: PowerCut) -> Result<()> {
        for (number, copy) in cut.0.into_iter().enumerate() {
            let (place, cache) = (&self.places[number], self.cache(number));
            unmount(place)?;
            unmount(&cache)?;
            mount(&copy, &cache)?;
            mount(&cache.join("medium"), place)?;
        }
        Ok(())
    }

    fn memory(&self) -> PathBuf {
        self.directory.join("memory")
    }

    fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    fn cache(&self, number: usize) -> PathBuf {
        self.directory.join(format!("cache-{number}"))
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        let caches = (0..self.places.len()).map(|number| self.cache(number));
        let below = self.places.iter().cloned().chain(caches);
        for place in below.chain([self.store(), self.memory()]) {
            // What was not mounted yet is not unmounted; the rest ends with the namespace at the latest.
            let _ = system::run("umount", [Path::new("--lazy"), place.as_path()]);
        }
    }
}

enum Journal {
    Yes,
    No,
}

fn sparse(path: &Path, mib: u64) -> Result<()> {
    let file = OpenOptions::new().create_new(true).write(true).open(path);
    let file = file.with_context(|| format!("can't make {}", path.display()))?;
    Ok(file.set_len(mib << 20)?)
}

fn make_file_system(image: &Path, journal: Journal) -> Result<()> {
    let features = match journal {
        Journal::Yes => "has_journal",
        Journal::No => "^has_journal",
    };
    let options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
    let args = ["-q", "-F", "-b", "4096", "-O", features, "-E", options].map(Path::new);
    system::run("mkfs.ext4", args.into_iter().chain([image]))
}

fn mount(image: &Path, place: &Path) -> Result<()> {
    // The loop device goes with the mount.
    system::run("mount", [Path::new("-oloop,noatime"), image, place])
}

fn unmount(place: &Path) -> Result<()> {
    system::run("umount", [place])
}
