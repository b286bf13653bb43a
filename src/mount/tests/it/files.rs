use crate::support::{Volume, eventually};
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Repeatable bytes that differ from place to place.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| ((at * 31 + seed * 17) ^ (at >> 9)).to_le_bytes()[0]).collect()
}

#[test]
fn a_thousand_files_are_written_renamed_listed_and_found_again_after_a_remount() {
    let volume = Volume::new("smoke");
    let mounted = volume.mount();
    let root = mounted.path.clone();
    let metadata = fs::metadata(&root).unwrap();
    assert_eq!((metadata.ino(), metadata.blksize()), (1, 65536));
    assert_eq!(nix::sys::statvfs::statvfs(&root).unwrap().fragment_size(), 4096);
    fs::create_dir(root.join("many")).unwrap();
    for number in 0..1000u64 {
        let path = root.join(format!("many/{number}"));
        fs::write(&path, pattern(number, number as usize * 7)).unwrap();
        if number % 2 == 1 {
            fs::rename(&path, root.join(format!("many/renamed-{number}"))).unwrap();
        }
    }
    let name = |number: u64| if number % 2 == 1 { format!("renamed-{number}") } else { number.to_string() };
    let check = |root: &std::path::Path| {
        let expected: BTreeSet<String> = (0..1000).map(name).collect();
        let listed: Vec<String> = fs::read_dir(root.join("many"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(listed.len(), 1000, "no name twice");
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), expected);
        for number in 0..1000u64 {
            let path = root.join("many").join(name(number));
            assert_eq!(fs::metadata(&path).unwrap().len(), number * 7);
            assert_eq!(fs::read(&path).unwrap(), pattern(number, number as usize * 7), "{number}");
        }
    };
    check(&root);
    mounted.end();
    fs::remove_dir_all(volume.path("cache")).unwrap();
    let mounted = volume.mount();
    check(&mounted.path);
    mounted.end();
}

#[test]
fn a_large_file_survives_overwrites_truncation_and_a_remount() {
    let volume = Volume::new("large");
    let mounted = volume.mount();
    let path = mounted.path.join("big");
    let mut model = pattern(1, 11 << 20);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    file.write_all_at(&model, 0).unwrap();
    for (at, length) in [(0, 10), (4 << 20, 70_000), ((4 << 20) - 5, 11), (10 << 20, 1 << 20), (123, 4096)] {
        let bytes = pattern(at as u64 + 3, length);
        file.write_all_at(&bytes, at as u64).unwrap();
        model[at..at + length].copy_from_slice(&bytes);
    }
    let mut read = vec![0; model.len()];
    file.read_exact_at(&mut read, 0).unwrap();
    assert!(read == model, "what was written is read back before anything is flushed");
    file.sync_all().unwrap();
    file.set_len(9 << 20).unwrap();
    model.truncate(9 << 20);
    file.set_len((9 << 20) + 5000).unwrap();
    model.resize((9 << 20) + 5000, 0);
    drop(file);
    mounted.end();
    fs::remove_dir_all(volume.path("cache")).unwrap();
    let mounted = volume.mount();
    let metadata = fs::metadata(mounted.path.join("big")).unwrap();
    assert_eq!(metadata.len(), model.len() as u64);
    assert_eq!(metadata.blocks(), (model.len() as u64).div_ceil(512));
    assert!(fs::read(mounted.path.join("big")).unwrap() == model);
    mounted.end();
}

#[test]
fn nodes_of_every_kind_keep_modes_owners_times_and_links() {
    let volume = Volume::new("nodes");
    let mounted = volume.mount();
    let root = &mounted.path;
    fs::write(root.join("file"), "x").unwrap();
    fs::set_permissions(root.join("file"), fs::Permissions::from_mode(0o4751)).unwrap();
    std::os::unix::fs::chown(root.join("file"), Some(12), Some(34)).unwrap();
    let metadata = fs::metadata(root.join("file")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.nlink()), (12, 34, 1));
    let early = TimeSpec::new(-2, 250_000_000);
    let file = File::open(root.join("file")).unwrap();
    utimensat(nix::fcntl::AT_FDCWD, &root.join("file"), &early, &early, UtimensatFlags::NoFollowSymlink)
        .unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (-2, 250_000_000));
    fs::hard_link(root.join("file"), root.join("hard")).unwrap();
    assert_eq!(fs::metadata(root.join("hard")).unwrap().nlink(), 2);
    symlink("some/where", root.join("soft")).unwrap();
    assert_eq!(fs::read_link(root.join("soft")).unwrap().to_str(), Some("some/where"));
    nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert_eq!(
        fs::symlink_metadata(root.join("fifo")).unwrap().mode() & nix::libc::S_IFMT,
        nix::libc::S_IFIFO
    );
    let renamed = nix::fcntl::renameat2(
        nix::fcntl::AT_FDCWD,
        &root.join("fifo"),
        nix::fcntl::AT_FDCWD,
        &root.join("soft"),
        nix::fcntl::RenameFlags::RENAME_NOREPLACE,
    );
    assert_eq!(renamed, Err(nix::errno::Errno::EEXIST));
    fs::create_dir(root.join("full")).unwrap();
    fs::write(root.join("full/x"), "").unwrap();
    assert_eq!(fs::remove_dir(root.join("full")).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
    assert_eq!(fs::remove_file(root.join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    fs::remove_file(root.join("file")).unwrap();
    assert_eq!(fs::read(root.join("hard")).unwrap(), b"x");
    drop(file);
    mounted.end();
}

#[test]
fn an_open_file_outlives_its_name_and_append_finds_the_end() {
    let volume = Volume::new("open");
    let mounted = volume.mount();
    let path = mounted.path.join("log");
    let mut one = OpenOptions::new().append(true).create(true).open(&path).unwrap();
    let mut two = OpenOptions::new().append(true).open(&path).unwrap();
    for number in 0..50 {
        writeln!(one, "a{number}").unwrap();
        writeln!(two, "b{number}").unwrap();
    }
    drop((one, two));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 100);
    let mut held = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    held.seek(SeekFrom::End(0)).unwrap();
    held.write_all(b"after the end of the name").unwrap();
    held.rewind().unwrap();
    let mut whole = String::new();
    held.read_to_string(&mut whole).unwrap();
    assert!(whole.ends_with("end of the name") && whole.len() == text.len() + 25);
    drop(held);
    fs::write(&path, "first").unwrap();
    OpenOptions::new().write(true).truncate(true).open(&path).unwrap().write_all(b"2").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"2");
    mounted.end();
}

#[test]
fn locks_exclude_the_other_mount() {
    let volume = Volume::new("locks");
    let one = volume.mount();
    let mut settings = volume.settings();
    settings.options.mountpoint = volume.path("mnt2");
    settings.options.cache_dirs = vec![volume.path("cache2")];
    let other = volume.mount_with(&settings);
    fs::write(one.path.join("f"), b"locked").unwrap();
    let [first, second] = [&one, &other]
        .map(|mounted| OpenOptions::new().read(true).write(true).open(mounted.path.join("f")).unwrap());
    let exclusive = nix::fcntl::FlockArg::LockExclusiveNonblock;
    let held = nix::fcntl::Flock::lock(first, exclusive).unwrap();
    let (second, refused) = nix::fcntl::Flock::lock(second, exclusive).unwrap_err();
    assert_eq!(refused, nix::errno::Errno::EAGAIN);
    drop(held);
    drop(nix::fcntl::Flock::lock(second, exclusive).unwrap());
    one.end();
    other.end();
}

#[test]
fn what_is_not_there_yet_is_refused_in_the_kernel_s_terms() {
    let volume = Volume::new("later");
    let mounted = volume.mount();
    let path = mounted.path.join("f");
    fs::write(&path, pattern(1, 5000)).unwrap();
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    // Extended attributes are not supported, sparse seeks and copies fall back.
    assert_eq!(xattr_errno(&name), nix::libc::EOPNOTSUPP);
    // std asks for copy_file_range first.
    assert_eq!(fs::copy(&path, mounted.path.join("copy")).unwrap(), 5000);
    assert_eq!(fs::read(mounted.path.join("copy")).unwrap(), pattern(1, 5000));
    let at = nix::unistd::lseek(&file, 0, nix::unistd::Whence::SeekHole).unwrap();
    assert_eq!(at, 5000);
    nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, 8000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 8000);
    assert!(file.as_raw_fd() > 2);
    drop(file);
    mounted.end();
}

fn xattr_errno(path: &std::ffi::CStr) -> i32 {
    let output = std::process::Command::new("python3")
        .arg("-c")
        .arg("import os,sys\ntry: os.setxattr(sys.argv[1],'user.a',b'1'); print(0)\nexcept OSError as e: print(e.errno)")
        .arg(path.to_str().unwrap())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn a_read_only_mount_changes_nothing() {
    let volume = Volume::new("ro");
    let mounted = volume.mount();
    fs::write(mounted.path.join("f"), "kept").unwrap();
    mounted.end();
    let mut settings = volume.settings();
    settings.options.read_only = true;
    let mounted = volume.mount_with(&settings);
    assert_eq!(fs::read(mounted.path.join("f")).unwrap(), b"kept");
    for result in [
        fs::write(mounted.path.join("f"), "x"),
        fs::create_dir(mounted.path.join("d")),
        fs::remove_file(mounted.path.join("f")),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    }
    mounted.end();
}

#[test]
fn internal_files_can_be_read_whole() {
    let volume = Volume::new("inner");
    let mounted = volume.mount();
    let mut stats = String::new();
    let mut file = OpenOptions::new().read(true).custom_flags(0).open(mounted.path.join(".stats")).unwrap();
    file.read_to_string(&mut stats).unwrap();
    assert!(stats.contains("juicefs_"), "{stats}");
    let config = fs::read_to_string(mounted.path.join(".config")).unwrap();
    assert!(
        config.contains("\"inner\"") && config.contains(&format!("\"Pid\": {}", std::process::id())),
        "{config}"
    );
    drop(file);
    mounted.end();
}

#[test]
fn two_mounts_of_one_volume_see_what_the_other_closed() {
    let volume = Volume::new("pair");
    let one = volume.mount();
    let mut settings = volume.settings();
    settings.options.mountpoint = volume.path("mnt2");
    settings.options.cache_dirs = vec![volume.path("cache2")];
    let two = volume.mount_with(&settings);
    for round in 0..30u64 {
        fs::write(one.path.join("f"), pattern(round, 10_000 + round as usize)).unwrap();
        assert!(
            fs::read(two.path.join("f")).unwrap() == pattern(round, 10_000 + round as usize),
            "round {round}"
        );
        fs::write(two.path.join("g"), pattern(round + 7, 5_000)).unwrap();
        assert!(fs::read(one.path.join("g")).unwrap() == pattern(round + 7, 5_000), "round {round}");
    }
    one.end();
    two.end();
}

#[test]
fn a_file_that_grows_elsewhere_is_followed_through_one_descriptor() {
    let volume = Volume::new("follow");
    let one = volume.mount();
    let mut settings = volume.settings();
    settings.options.mountpoint = volume.path("mnt2");
    settings.options.cache_dirs = vec![volume.path("cache2")];
    let two = volume.mount_with(&settings);
    let mut log = File::create(one.path.join("log")).unwrap();
    let mut reader = File::open(two.path.join("log")).unwrap();
    let (done, begun) = (AtomicBool::new(false), Instant::now());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(25) {
                log.write_all(b"one more line\n").unwrap();
                log.sync_data().unwrap();
            }
        });
        let mut arrivals = 0;
        // It never looks at the file's attributes, and the other never pauses.
        eventually("lines arrive again and again", || {
            arrivals += usize::from(reader.read(&mut [0; 1 << 16]).unwrap() > 0);
            arrivals >= 3
        });
        done.store(true, Ordering::Relaxed);
    });
    drop((log, reader));
    one.end();
    two.end();
}

#[test]
fn a_squashed_root_is_somebody_else() {
    let volume = Volume::new("squash");
    let mounted = volume.mount();
    fs::write(mounted.path.join("roots"), "private").unwrap();
    fs::set_permissions(mounted.path.join("roots"), fs::Permissions::from_mode(0o600)).unwrap();
    mounted.end();
    let mut settings = volume.settings();
    settings.options.root_squash = Some((65534, 65534));
    let mounted = volume.mount_with(&settings);
    fs::write(mounted.path.join("new"), "x").unwrap();
    assert_eq!(fs::metadata(mounted.path.join("new")).unwrap().uid(), 65534);
    assert_eq!(fs::read(mounted.path.join("roots")).unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(fs::read(mounted.path.join("new")).unwrap(), b"x");
    mounted.end();
}

#[test]
fn a_write_by_somebody_else_takes_suid_and_sgid_away() {
    let volume = Volume::new("suid");
    let mounted = volume.mount();
    for how in [">", ">>", "1<>"] {
        let path = mounted.path.join("tool");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o6777)).unwrap();
        let script = format!("echo x {how} \"$0\"");
        let mut writer = std::process::Command::new("setpriv");
        writer.args(["--bounding-set=-fsetid", "sh", "-c", &script]).arg(&path);
        assert!(writer.status().unwrap().success());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o777, "{how}");
    }
    mounted.end();
}

#[test]
fn a_subdir_is_the_root_of_its_mount() {
    let volume = Volume::new("subdir");
    let mounted = volume.mount();
    fs::create_dir_all(mounted.path.join("a/b")).unwrap();
    fs::write(mounted.path.join("a/b/f"), "below").unwrap();
    mounted.end();
    let mut settings = volume.settings();
    settings.options.subdir = Some("/a/b".to_owned());
    let mounted = volume.mount_with(&settings);
    assert_eq!(fs::metadata(&mounted.path).unwrap().ino(), 1);
    assert_eq!(fs::read(mounted.path.join("f")).unwrap(), b"below");
    fs::write(mounted.path.join("g"), "too").unwrap();
    mounted.end();
    let mounted = volume.mount();
    assert_eq!(fs::read(mounted.path.join("a/b/g")).unwrap(), b"too");
    mounted.end();
}
