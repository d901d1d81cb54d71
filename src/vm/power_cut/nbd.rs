//! A server for one disk over the NBD protocol, as far as QEMU needs it (NetworkBlockDevice/nbd, doc/proto.md): newstyle
//! negotiation, simple replies, one request after the other.

use std::io::{self, Read, Write};

const MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// `NBD_FLAG_FIXED_NEWSTYLE`, `NBD_FLAG_NO_ZEROES`.
const HANDSHAKE: u16 = 1 | 1 << 1;
/// `NBD_FLAG_HAS_FLAGS`, `SEND_FLUSH`, `SEND_TRIM`, `SEND_WRITE_ZEROES`. Not `SEND_FUA`: clients then flush after such a
/// write.
const TRANSMISSION: u16 = 1 | 1 << 2 | 1 << 5 | 1 << 6;

const OPTION_ABORT: u32 = 2;
const OPTION_INFO: u32 = 6;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 1 << 31 | 1;
const INFO_EXPORT: u16 = 0;

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const WRITE_ZEROES: u16 = 6;

/// What the protocol lets a client ask for at once.
const LONGEST: u32 = 32 << 20;
const EIO: u32 = 5;
const EINVAL: u32 = 22;

/// A disk.
pub(super) trait Export {
    /// Bytes.
    fn size(&self) -> u64;
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn zero(&mut self, offset: u64, len: u64) -> io::Result<()>;
    fn flush(&mut self) -> io::Result<()>;
}

/// Serves a client until it goes.
pub(super) fn serve(mut stream: impl Read + Write, export: &mut impl Export) -> io::Result<()> {
    if !negotiate(&mut stream, export.size())? {
        return Ok(());
    }
    let mut bytes = Vec::new();
    loop {
        let magic = u32::from_be_bytes(take(&mut stream)?);
        let _flags: [u8; 2] = take(&mut stream)?;
        let kind = u16::from_be_bytes(take(&mut stream)?);
        let cookie: [u8; 8] = take(&mut stream)?;
        let offset = u64::from_be_bytes(take(&mut stream)?);
        let len = u32::from_be_bytes(take(&mut stream)?);
        if magic != REQUEST_MAGIC || (matches!(kind, READ | WRITE) && len > LONGEST) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        bytes.resize(if matches!(kind, READ | WRITE) { len as usize } else { 0 }, 0);
        if kind == WRITE {
            stream.read_exact(&mut bytes)?;
        }
        let within = offset.checked_add(len.into()).is_some_and(|end| end <= export.size());
        let done = match kind {
            DISCONNECT => return Ok(()),
            FLUSH => export.flush().map_err(|_| EIO),
            _ if !within => Err(EINVAL),
            READ => export.read(offset, &mut bytes).map_err(|_| EIO),
            WRITE => export.write(offset, &bytes).map_err(|_| EIO),
            TRIM | WRITE_ZEROES => export.zero(offset, len.into()).map_err(|_| EIO),
            _ => Err(EINVAL),
        };
        let mut reply = Vec::with_capacity(16 + bytes.len());
        reply.extend(REPLY_MAGIC.to_be_bytes());
        reply.extend(done.err().unwrap_or(0).to_be_bytes());
        reply.extend(cookie);
        if kind == READ && done.is_ok() {
            reply.extend(&bytes);
        }
        stream.write_all(&reply)?;
    }
}

/// Agrees on the only export. Gives back whether the client wants to go on.
fn negotiate(stream: &mut (impl Read + Write), size: u64) -> io::Result<bool> {
    stream.write_all(&[MAGIC.to_be_bytes(), OPTION_MAGIC.to_be_bytes()].concat())?;
    stream.write_all(&HANDSHAKE.to_be_bytes())?;
    let _flags: [u8; 4] = take(stream)?;
    loop {
        let magic = u64::from_be_bytes(take(stream)?);
        let option: [u8; 4] = take(stream)?;
        let len = u32::from_be_bytes(take(stream)?);
        if magic != OPTION_MAGIC || len > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // Every name is this export's, and other information than the one it has to give is not there.
        stream.read_exact(&mut vec![0; len as usize])?;
        let mut reply = |kind: u32, payload: &[u8]| {
            let mut reply = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
            reply.extend(option);
            reply.extend(kind.to_be_bytes());
            reply.extend((payload.len() as u32).to_be_bytes());
            reply.extend(payload);
            stream.write_all(&reply)
        };
        match u32::from_be_bytes(option) {
            kind @ (OPTION_GO | OPTION_INFO) => {
                let mut info = INFO_EXPORT.to_be_bytes().to_vec();
                info.extend(size.to_be_bytes());
                info.extend(TRANSMISSION.to_be_bytes());
                reply(REPLY_INFO, &info)?;
                reply(REPLY_ACK, &[])?;
                if kind == OPTION_GO {
                    return Ok(true);
                }
            }
            OPTION_ABORT => {
                reply(REPLY_ACK, &[])?;
                return Ok(false);
            }
            _ => reply(REPLY_UNSUPPORTED, &[])?,
        }
    }
}

fn take<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    struct Disk(Vec<u8>, usize);

    impl Export for Disk {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn read(&mut self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
            bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
            Ok(())
        }

        fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.0[offset as usize..][..bytes.len()].copy_from_slice(bytes);
            Ok(())
        }

        fn zero(&mut self, offset: u64, len: u64) -> io::Result<()> {
            self.0[offset as usize..][..len as usize].fill(0);
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.1 += 1;
            Ok(())
        }
    }

    #[test]
    fn a_client_is_served() {
        let (mut client, server) = UnixStream::pair().expect("pair");
        let server = std::thread::spawn(move || {
            let mut disk = Disk(vec![7; 4096], 0);
            serve(server, &mut disk).map(|()| disk)
        });
        let hello: [u8; 18] = take(&mut client).expect("hello");
        assert_eq!(&hello[..16], b"NBDMAGICIHAVEOPT");
        client.write_all(&3_u32.to_be_bytes()).expect("flags");
        for option in [8, OPTION_GO] {
            client.write_all(b"IHAVEOPT").expect("option");
            client
                .write_all(&[option.to_be_bytes(), 0_u32.to_be_bytes()].concat())
                .expect("option");
        }
        let refused: [u8; 20] = take(&mut client).expect("reply");
        assert_eq!(refused[12..16], REPLY_UNSUPPORTED.to_be_bytes());
        let granted: [u8; 20 + 12 + 20] = take(&mut client).expect("reply");
        assert_eq!(granted[22..30], 4096_u64.to_be_bytes());

        let mut ask = |kind: u16, offset: u64, len: u32, bytes: &[u8], answer: usize| {
            let mut request = REQUEST_MAGIC.to_be_bytes().to_vec();
            request.extend([0, 0]);
            request.extend(kind.to_be_bytes());
            request.extend([5; 8]);
            request.extend(offset.to_be_bytes());
            request.extend(len.to_be_bytes());
            request.extend(bytes);
            client.write_all(&request).expect("request");
            let head: [u8; 16] = take(&mut client).expect("head");
            assert_eq!(head[8..], [5; 8]);
            let mut data = vec![0; answer];
            client.read_exact(&mut data).expect("data");
            (u32::from_be_bytes([head[4], head[5], head[6], head[7]]), data)
        };
        assert_eq!(ask(WRITE, 512, 4, b"abcd", 0).0, 0);
        assert_eq!(ask(FLUSH, 0, 0, b"", 0).0, 0);
        assert_eq!(ask(WRITE_ZEROES, 514, 1, b"", 0).0, 0);
        assert_eq!(ask(READ, 511, 6, b"", 6), (0, b"\x07ab\0d\x07".to_vec()));
        assert_eq!(ask(READ, 4095, 2, b"", 0).0, EINVAL);
        assert_eq!(ask(99, 0, 0, b"", 0).0, EINVAL);
        client.write_all(&REQUEST_MAGIC.to_be_bytes()).expect("end");
        client.write_all(&[0, 0, 0, 2]).expect("end");
        client.write_all(&[0; 20]).expect("end");
        let disk = server.join().expect("thread").expect("served");
        assert_eq!(disk.1, 1);
    }
}
