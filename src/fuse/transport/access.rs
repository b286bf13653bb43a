//! A line of `.accesslog` for each request, in the peer's words: what was asked, what came of it and how long it took.
//!
//! Made only while somebody reads that file; the request is then taken apart a second time, so that the way of all others
//! stays as short as it is.

use super::dispatch::{fattr, opcode};
use super::wire::{Fields, Header, Short};
use crate::request::Request;
use juicefs_base::Errno;
use juicefs_base::log::access_stamp;
use juicefs_vfs::{ACCESS_LOG, AccessLog, Attr, Ino};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Fields of a SETATTR that the peer shows (`FATTR_*`), without handle, lock owner and what else is not stored.
const SHOWN_CHANGES: u32 = 0x1BF;
/// `FUSE_LK_FLOCK`.
const LK_FLOCK: u32 = 1;

/// What is told of one request when it is answered.
#[derive(Debug)]
pub(super) struct Access {
    log: Arc<AccessLog>,
    begun: Instant,
    caller: Request,
    opcode: u32,
    /// `mkdir (1,d,?rwxr-xr-x:00755):`; the colon where an answer follows.
    call: String,
    answer: String,
}

impl Access {
    /// `None` for what the peer does not tell either.
    pub(super) fn of(log: &Arc<AccessLog>, header: &Header, fields: Fields<'_>) -> Option<Box<Self>> {
        // Whoever reads the log does not read of it.
        if header.opcode == opcode::READ && Ino(header.node) == ACCESS_LOG {
            return None;
        }
        let call = call(header, fields).ok().flatten()?;
        let (log, begun, caller) = (Arc::clone(log), Instant::now(), header.caller);
        Some(Box::new(Self { log, begun, caller, opcode: header.opcode, call, answer: String::new() }))
    }

    /// `(2,[drwxr-xr-x:0040755,...])`
    pub(super) fn node(&mut self, ino: Ino, attr: &Attr) {
        let (bits, ends) = (super::answers::mode_bits(attr), [attr.atime, attr.mtime, attr.ctime]);
        let [atime, mtime, ctime] = ends.map(|time| time.sec);
        self.answer = format!(
            " ({},[{}:0{bits:06o},{},{},{},{atime},{mtime},{ctime},{}])",
            ino.0,
            letters(bits),
            attr.nlink,
            attr.uid,
            attr.gid,
            attr.length
        );
    }

    pub(super) fn handle(&mut self, fh: u64) {
        self.answer += &format!(" [fh:{fh}]");
    }

    /// Bytes or lines, for operations that tell how many.
    pub(super) fn count(&mut self, count: usize) {
        if self.call.ends_with(':') {
            self.answer = format!(" ({count})");
        }
    }

    /// The bytes of an answer: the target of a link is shown, of others how many.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        if self.opcode == opcode::READLINK {
            self.answer = format!(" ({})", shown(bytes));
        } else {
            self.count(bytes.len());
        }
    }

    pub(super) fn words(&mut self, words: &str) {
        self.answer = format!(" ({words})");
    }

    /// Writes the line.
    pub(super) fn end(self, failure: Option<Errno>) {
        let Request { uid, gid, pid } = self.caller;
        let (stamp, seconds) = (access_stamp(SystemTime::now()), self.begun.elapsed().as_secs_f64());
        let (call, answer) = (self.call, if failure.is_some() { String::new() } else { self.answer });
        let outcome = failure.map_or_else(|| "OK".to_owned(), said);
        self.log.write(&format!(
            "{stamp} [uid:{uid},gid:{gid},pid:{pid}] {call}{answer} - {outcome} <{seconds:.6}>\n"
        ));
    }
}

/// As the peer says it.
fn said(errno: Errno) -> String {
    let text = errno.desc();
    text.chars().take(1).flat_map(char::to_lowercase).chain(text.chars().skip(1)).collect()
}

/// A name on one line, whatever is in it.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).replace(char::is_control, "?")
}

/// `drwxr-xr-x` of the bits of a mode; `?` for a kind that is not said.
fn letters(mode: u32) -> String {
    let kind = match mode & libc::S_IFMT {
        libc::S_IFREG => '-',
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        libc::S_IFIFO => 'f',
        libc::S_IFBLK => 'b',
        libc::S_IFCHR => 'c',
        libc::S_IFSOCK => 's',
        _ => '?',
    };
    let bits = (0..9).map(|at| if mode >> (8 - at) & 1 == 1 { ['r', 'w', 'x'][at % 3] } else { '-' });
    std::iter::once(kind).chain(bits).collect()
}

fn mode(mode: u32) -> String {
    format!("{}:0{mode:04o}", letters(mode))
}

/// The call with its arguments.
fn call(header: &Header, mut fields: Fields<'_>) -> Result<Option<String>, Short> {
    let node = header.node;
    Ok(Some(match header.opcode {
        opcode::LOOKUP => format!("lookup ({node},{}):", shown(fields.name()?)),
        opcode::GETATTR => format!("getattr ({node}):"),
        opcode::SETATTR => setattr(node, &mut fields)?,
        opcode::READLINK => format!("readlink ({node}):"),
        opcode::SYMLINK => {
            let name = shown(fields.name()?);
            format!("symlink ({node},{name},{}):", shown(fields.name()?))
        }
        opcode::MKNOD => {
            let (bits, rdev) = (fields.u32()?, fields.u32()?);
            fields.skip(8)?;
            format!("mknod ({node},{},{},0x{rdev:08X}):", shown(fields.name()?), mode(bits))
        }
        opcode::MKDIR => {
            let bits = fields.u32()?;
            fields.skip(4)?;
            format!("mkdir ({node},{},{}):", shown(fields.name()?), mode(bits))
        }
        opcode::UNLINK => format!("unlink ({node},{})", shown(fields.name()?)),
        opcode::RMDIR => format!("rmdir ({node},{})", shown(fields.name()?)),
        opcode::RENAME | opcode::RENAME2 => {
            let to = fields.u64()?;
            let flags = if header.opcode == opcode::RENAME2 { fields.u64()? as u32 } else { 0 };
            let name = shown(fields.name()?);
            format!("rename ({node},{name},{to},{},{flags})", shown(fields.name()?))
        }
        opcode::LINK => {
            let linked = fields.u64()?;
            format!("link ({linked},{node},{}):", shown(fields.name()?))
        }
        opcode::CREATE => {
            let (_, bits) = (fields.u32()?, fields.u32()?);
            fields.skip(8)?;
            format!("create ({node},{},{}):", shown(fields.name()?), mode(bits))
        }
        opcode::TMPFILE => {
            fields.skip(4)?;
            format!("tmpfile ({node},{}):", mode(fields.u32()?))
        }
        opcode::ACCESS => format!("access ({node},{:#x})", fields.u32()?),
        opcode::STATFS => format!("statfs ({node}):"),
        opcode::OPEN => format!("open ({node},{:#x})", fields.u32()?),
        opcode::OPENDIR => format!("opendir ({node})"),
        opcode::RELEASEDIR => format!("releasedir ({node})"),
        opcode::READDIR | opcode::READDIRPLUS => {
            fields.skip(8)?;
            let (off, size) = (fields.u64()?, fields.u32()?);
            format!("readdir ({node},{size},{off},{}):", header.opcode == opcode::READDIRPLUS)
        }
        _ => return attribute_or_bytes(header, fields),
    }))
}

fn attribute_or_bytes(header: &Header, mut fields: Fields<'_>) -> Result<Option<String>, Short> {
    let node = header.node;
    Ok(Some(match header.opcode {
        opcode::SETXATTR => {
            let (size, flags) = (fields.u32()?, fields.u32()?);
            format!("setxattr ({node},{},{size},{flags})", shown(fields.name()?))
        }
        opcode::GETXATTR => {
            let room = fields.u32()?;
            fields.skip(4)?;
            format!("getxattr ({node},{},{room}):", shown(fields.name()?))
        }
        opcode::LISTXATTR => format!("listxattr ({node},{}):", fields.u32()?),
        opcode::REMOVEXATTR => format!("removexattr ({node},{})", shown(fields.name()?)),
        opcode::READ => {
            let (fh, off, size) = (fields.u64()?, fields.u64()?, fields.u32()?);
            format!("read ({node},{size},{off},{fh}):")
        }
        opcode::WRITE => {
            let (fh, off, size) = (fields.u64()?, fields.u64()?, fields.u32()?);
            format!("write ({node},{size},{off},{fh})")
        }
        opcode::FLUSH => {
            let fh = fields.u64()?;
            fields.skip(8)?;
            format!("flush ({node},{fh},{:016X})", fields.u64()?)
        }
        opcode::RELEASE => format!("release ({node},{})", fields.u64()?),
        opcode::FSYNC => {
            fields.skip(8)?;
            format!("fsync ({node},{})", fields.u32()?)
        }
        opcode::FALLOCATE => {
            fields.skip(8)?;
            let (off, size) = (fields.u64()?, fields.u64()?);
            format!("fallocate ({node},{},{off},{size})", fields.u32()?)
        }
        opcode::COPY_FILE_RANGE => {
            fields.skip(8)?;
            let (from, to) = (fields.u64()?, fields.u64()?);
            fields.skip(8)?;
            let (at, size) = (fields.u64()?, fields.u64()?);
            format!("copy_file_range ({node},{from},{to},{at},{size},{})", fields.u64()?)
        }
        opcode::IOCTL => {
            fields.skip(12)?;
            let (command, at) = (fields.u32()?, fields.u64()?);
            let (len, room) = (fields.u32()?, fields.u32()?);
            format!("ioctl ({node},{command:#X},{at:#X},{len},{room})")
        }
        opcode::LSEEK => {
            let (fh, off) = (fields.u64()?, fields.u64()?);
            format!("lseek ({node},{fh},{off},{}):", fields.u32()?)
        }
        opcode::GETLK => {
            let fh = fields.u64()?;
            format!("getlk ({node},{fh},{:016X}):", fields.u64()?)
        }
        opcode::SETLK | opcode::SETLKW => lock(header, &mut fields)?,
        _ => return Ok(None),
    }))
}

/// How the peer names kinds of POSIX locks.
pub(super) fn lock_letter(kind: i32) -> char {
    match kind {
        libc::F_RDLCK => 'R',
        libc::F_WRLCK => 'W',
        _ => 'U',
    }
}

fn lock(header: &Header, fields: &mut Fields<'_>) -> Result<String, Short> {
    let (node, fh, owner) = (header.node, fields.u64()?, fields.u64()?);
    let (start, end, kind, pid) = (fields.u64()?, fields.u64()?, fields.i32()?, fields.u32()?);
    let waits = header.opcode == opcode::SETLKW;
    if fields.u32()? & LK_FLOCK == 0 {
        let letter = lock_letter(kind);
        return Ok(format!("setlk ({node},{fh},{owner:016X},{start},{end},{letter},{waits},{pid})"));
    }
    let name = match kind {
        libc::F_RDLCK => "LOCKSH",
        libc::F_WRLCK => "LOCKEX",
        _ => "UNLOCK",
    };
    Ok(format!("flock ({node},{fh},{owner:016X},{name},{waits})"))
}

fn setattr(node: u64, fields: &mut Fields<'_>) -> Result<String, Short> {
    let valid = fields.u32()?;
    fields.skip(4)?;
    let (fh, size) = (fields.u64()?, fields.u64()?);
    fields.skip(8)?;
    let (atime, mtime) = (fields.i64()?, fields.i64()?);
    fields.skip(20)?;
    let bits = fields.u32()?;
    fields.skip(4)?;
    let (uid, gid) = (fields.u32()?, fields.u32()?);
    let time = |name, now, sec: i64| match valid & now {
        0 => format!("{name}={sec}"),
        _ => format!("{name}=NOW"),
    };
    let changes: Vec<String> = [
        (fattr::MODE, format!("mode={}:0{:04o}", letters(bits), bits & 0o7777)),
        (fattr::UID, format!("uid={uid}")),
        (fattr::GID, format!("gid={gid}")),
        (fattr::ATIME, time("atime", fattr::ATIME_NOW, atime)),
        (fattr::MTIME, time("mtime", fattr::MTIME_NOW, mtime)),
        (fattr::SIZE, format!("size={size}")),
    ]
    .into_iter()
    .filter(|(bit, _)| valid & bit != 0)
    .map(|(_, text)| text)
    .collect();
    let fh = if valid & fattr::FH == 0 { 0 } else { fh };
    Ok(format!("setattr ({node}[{fh}],0x{:X},[{}]):", valid & SHOWN_CHANGES, changes.join(",")))
}

#[cfg(test)]
mod tests {
    use super::super::wire::Body;
    use super::*;
    use juicefs_vfs::Kind;

    fn asked(opcode: u32, body: &Body) -> String {
        let mut message = Body::default();
        let len = u32::try_from(40 + body.len()).unwrap();
        message.u32(len).u32(opcode).u64(7).u64(3).u32(1000).u32(100).u32(4711).u32(0).raw(body.as_slice());
        let (header, fields) = Fields::of(message.as_slice()).unwrap();
        call(&header, fields).unwrap().unwrap()
    }

    #[test]
    fn calls_are_told_as_the_peer_tells_them() {
        let mut body = Body::default();
        body.u32(0o755).u32(0o22).raw(b"d\0");
        assert_eq!(asked(opcode::MKDIR, &body), "mkdir (3,d,?rwxr-xr-x:00755):");
        let mut body = Body::default();
        body.u32(0x8241).u32(0o100_644).u32(0o22).u32(0).raw(b"a\nb\0");
        assert_eq!(asked(opcode::CREATE, &body), "create (3,a?b,-rw-r--r--:0100644):");
        let mut body = Body::default();
        body.u32(0o10644).u32(0).u32(0o22).u32(0).raw(b"fifo\0");
        assert_eq!(asked(opcode::MKNOD, &body), "mknod (3,fifo,frw-r--r--:010644,0x00000000):");
        let mut body = Body::default();
        body.u64(2).u32(1).u32(0).raw(b"f\0g\0");
        assert_eq!(asked(opcode::RENAME2, &body), "rename (3,f,2,g,1)");
        let mut body = Body::default();
        body.u32(0x1B0).u32(0).pad(72).u32(0).u32(0);
        assert_eq!(asked(opcode::SETATTR, &body), "setattr (3[0],0x1B0,[atime=NOW,mtime=NOW]):");
        let mut body = Body::default();
        body.u32(0x248).u32(0).u64(12).u64(100).pad(64);
        assert_eq!(asked(opcode::SETATTR, &body), "setattr (3[12],0x8,[size=100]):");
        let mut body = Body::default();
        body.u64(14).u64(0x441D_E004_209F_ADA7).u64(0).u64(9).u32(1).u32(24896).u32(0).u32(0);
        assert_eq!(asked(opcode::SETLK, &body), "setlk (3,14,441DE004209FADA7,0,9,W,false,24896)");
    }

    #[test]
    fn a_line_says_who_what_and_how_it_ended() {
        let log = Arc::<AccessLog>::default();
        let header = Header {
            opcode: opcode::GETATTR,
            unique: 1,
            node: 2,
            caller: Request { uid: 1, gid: 2, pid: 3 },
        };
        let mut message = [0; 40];
        message[0] = 40;
        let (_, fields) = Fields::of(&message).unwrap();
        let mut access = Access::of(&log, &header, fields).unwrap();
        let attr = Attr::new(Kind::Directory, 0o755, 4, 5, Ino(1), juicefs_vfs::Time { sec: 9, nsec: 1 });
        access.node(Ino(2), &attr);
        assert_eq!(access.call + &access.answer, "getattr (2): (2,[drwxr-xr-x:0040755,2,4,5,9,9,9,4096])");
    }
}
