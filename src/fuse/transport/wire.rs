//! Bytes of the FUSE protocol (version 7, `linux/fuse.h`): fields of requests in their order, fields of answers in
//! theirs. Everything is in the machine's own byte order. What stands here is layout only; what it means is in
//! `dispatch` and `answers`.

use crate::request::Request;

/// `fuse_out_header`.
pub(super) const OUT_HEADER_BYTES: usize = 16;
/// `fuse_dirent` without its name.
pub(super) const DIRENT_BYTES: usize = 24;
/// `fuse_entry_out`.
pub(super) const ENTRY_BYTES: usize = 128;

/// What stands before every request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) opcode: u32,
    /// Number of the request, which its answer and its interruption name.
    pub(super) unique: u64,
    pub(super) node: u64,
    pub(super) caller: Request,
}

/// A request that is shorter than its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short;

/// The fields of a request, taken from its front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'r>(&'r [u8]);

impl<'r> Fields<'r> {
    /// Takes a message apart; one whose length is not what its header says is refused.
    pub(super) fn of(message: &'r [u8]) -> Result<(Header, Self), Short> {
        let mut fields = Self(message);
        let len = fields.u32()?;
        let opcode = fields.u32()?;
        let (unique, node) = (fields.u64()?, fields.u64()?);
        let caller = Request { uid: fields.u32()?, gid: fields.u32()?, pid: fields.u32()? };
        fields.skip(4)?;
        if len as usize != message.len() {
            return Err(Short);
        }
        Ok((Header { opcode, unique, node, caller }, fields))
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'r [u8], Short> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<(), Short> {
        self.bytes(count).map(drop)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_ne_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Short> {
        self.array().map(i32::from_ne_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_ne_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Short> {
        self.array().map(i64::from_ne_bytes)
    }

    /// A name up to its NUL.
    pub(super) fn name(&mut self) -> Result<&'r [u8], Short> {
        let end = self.0.iter().position(|&byte| byte == 0).ok_or(Short)?;
        let name = self.bytes(end)?;
        self.skip(1)?;
        Ok(name)
    }
}

/// The fields of an answer, added at its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Body(Vec<u8>);

impl Body {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_ne_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_ne_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_ne_bytes())
    }

    pub(super) fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_ne_bytes())
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Zeros.
    pub(super) fn pad(&mut self, count: usize) -> &mut Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &[u8]) -> Vec<u8> {
        let mut message = Body::default();
        let len = u32::try_from(40 + body.len()).unwrap();
        message.u32(len).u32(34).u64(7).u64(1).u32(1000).u32(100).u32(4711).u32(0).raw(body);
        message.0
    }

    #[test]
    fn a_message_is_taken_apart() {
        let message = message(b"\x02\0\0\0name\0rest");
        let (header, mut fields) = Fields::of(&message).unwrap();
        assert_eq!((header.opcode, header.unique, header.node), (34, 7, 1));
        assert_eq!((header.caller.uid, header.caller.gid, header.caller.pid), (1000, 100, 4711));
        assert_eq!(fields.u32(), Ok(2));
        assert_eq!(fields.name(), Ok(&b"name"[..]));
        assert_eq!(fields.name(), Err(Short), "a name without an end");
        assert_eq!(fields.bytes(4), Ok(&b"rest"[..]));
        assert_eq!((fields.u32(), fields.bytes(1), fields.bytes(0)), (Err(Short), Err(Short), Ok(&b""[..])));
    }

    #[test]
    fn whatever_is_cut_off_is_refused() {
        let whole = message(b"");
        for len in 0..whole.len() {
            assert!(Fields::of(&whole[..len]).is_err());
        }
        let mut long = whole;
        long.push(0);
        assert!(Fields::of(&long).is_err());
    }
}
