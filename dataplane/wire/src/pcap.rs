//! Capture files in the classic pcap format (draft-ietf-opsawg-pcap), for tests and tools. Ethernet only.
//!
//! ```text
//! file header, 24 bytes:  magic (4), version 2.4 (2 + 2), zone (4), accuracy (4), snap length (4), link type (4)
//! each packet, 16 bytes:  seconds (4), micro- or nanoseconds (4), captured length (4), original length (4); then bytes
//! ```
//!
//! Numbers are in the byte order of the machine that wrote the file; the magic number tells which that was, and whether
//! time stamps are in micro- or nanoseconds. Files are written little endian with nanoseconds.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;

/// Magic number with time stamps in microseconds.
const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
/// Magic number with time stamps in nanoseconds.
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
const VERSION_MAJOR: u16 = 2;
const VERSION_MINOR: u16 = 4;
/// `LINKTYPE_ETHERNET`. The upper bits of the field say whether frames end with an FCS.
const LINKTYPE_ETHERNET: u32 = 1;
const LINKTYPE_MASK: u32 = 0x03ff_ffff;
const FILE_HEADER_LEN: usize = 24;
const RECORD_HEADER_LEN: usize = 16;
/// The longest packet that is believed, bytes: libpcap's own limit. A damaged length must not ask for gigabytes.
pub const CAPTURED_LEN_MAX: u32 = 262_144;

/// A packet of a capture file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When, since the epoch of the capture: usually 1970.
    pub time: Duration,
    /// The bytes that were captured, from the Ethernet header on.
    pub bytes: Vec<u8>,
    /// Length of the packet on the wire, bytes: more than was captured if the capture cut it.
    pub original_len: u32,
}

/// A capture file cannot be read.
#[derive(Debug)]
pub enum PcapError {
    /// Reading failed, or the file ends within a header or packet.
    Io(io::Error),
    /// Not a pcap file. The number it begins with; 0x0a0d0d0a is pcapng, which `editcap -F pcap` converts.
    Magic(u32),
    /// The link type is not Ethernet.
    LinkType(u32),
    /// A packet claims more bytes than [`CAPTURED_LEN_MAX`].
    TooLong(u32),
}

impl fmt::Display for PcapError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PcapError::Io(error) => write!(out, "cannot read the capture: {error}"),
            PcapError::Magic(0x0a0d_0d0a) => {
                out.write_str("this is pcapng: convert it with 'editcap -F pcap'")
            }
            PcapError::Magic(magic) => write!(out, "not a pcap file: it begins with {magic:#010x}"),
            PcapError::LinkType(link_type) => write!(out, "link type {link_type} is not Ethernet (1)"),
            PcapError::TooLong(len) => write!(out, "a packet of {len} bytes: the capture is damaged"),
        }
    }
}

impl std::error::Error for PcapError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PcapError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for PcapError {
    fn from(error: io::Error) -> PcapError {
        PcapError::Io(error)
    }
}

/// Reads a capture file, packet by packet: it is an iterator, which ends after an error.
#[derive(Debug)]
pub struct PcapReader<R> {
    input: R,
    big_endian: bool,
    nanos_per_unit: u32,
    done: bool,
}

impl<R: Read> PcapReader<R> {
    /// Reads the file header.
    ///
    /// # Errors
    /// If the input cannot be read or is no capture of Ethernet frames.
    pub fn new(mut input: R) -> Result<PcapReader<R>, PcapError> {
        let mut header = [0; FILE_HEADER_LEN];
        input.read_exact(&mut header)?;
        let magic = number(&header, 0, true);
        let (big_endian, nanos_per_unit) = match (magic, magic.swap_bytes()) {
            (MAGIC_MICROS, _) => (true, 1000),
            (MAGIC_NANOS, _) => (true, 1),
            (_, MAGIC_MICROS) => (false, 1000),
            (_, MAGIC_NANOS) => (false, 1),
            _ => return Err(PcapError::Magic(magic)),
        };
        let link_type = number(&header, 20, big_endian) & LINKTYPE_MASK;
        if link_type != LINKTYPE_ETHERNET {
            return Err(PcapError::LinkType(link_type));
        }
        Ok(PcapReader { input, big_endian, nanos_per_unit, done: false })
    }

    fn packet(&mut self) -> Result<Option<Captured>, PcapError> {
        // The end of the file is the end only between packets.
        let mut header = Vec::with_capacity(RECORD_HEADER_LEN);
        match self.input.by_ref().take(RECORD_HEADER_LEN as u64).read_to_end(&mut header)? {
            0 => return Ok(None),
            RECORD_HEADER_LEN => {}
            _ => return Err(PcapError::Io(io::ErrorKind::UnexpectedEof.into())),
        }
        let field = |place| number(&header, place, self.big_endian);
        let captured_len = field(8);
        if captured_len > CAPTURED_LEN_MAX {
            return Err(PcapError::TooLong(captured_len));
        }
        let mut bytes = vec![0; captured_len as usize];
        self.input.read_exact(&mut bytes)?;
        let nanos = u64::from(field(4)) * u64::from(self.nanos_per_unit);
        let time = Duration::from_secs(field(0).into()) + Duration::from_nanos(nanos);
        Ok(Some(Captured { time, bytes, original_len: field(12) }))
    }
}

impl<R: Read> Iterator for PcapReader<R> {
    type Item = Result<Captured, PcapError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let packet = self.packet().transpose();
        self.done = !matches!(packet, Some(Ok(_)));
        packet
    }
}

fn number(bytes: &[u8], place: usize, big_endian: bool) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[place..place + 4]);
    if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
}

/// Writes a capture file, packet by packet. Give it a [`std::io::BufWriter`].
#[derive(Debug)]
pub struct PcapWriter<W> {
    output: W,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file header.
    ///
    /// # Errors
    /// If writing fails.
    pub fn new(mut output: W) -> io::Result<PcapWriter<W>> {
        let mut header = Vec::with_capacity(FILE_HEADER_LEN);
        header.extend_from_slice(&MAGIC_NANOS.to_le_bytes());
        header.extend_from_slice(&VERSION_MAJOR.to_le_bytes());
        header.extend_from_slice(&VERSION_MINOR.to_le_bytes());
        // Zone and accuracy, which nobody uses.
        header.extend_from_slice(&[0; 8]);
        header.extend_from_slice(&CAPTURED_LEN_MAX.to_le_bytes());
        header.extend_from_slice(&LINKTYPE_ETHERNET.to_le_bytes());
        output.write_all(&header)?;
        Ok(PcapWriter { output })
    }

    /// Writes a packet; of one longer than [`CAPTURED_LEN_MAX`], the beginning. Seconds beyond 32 bits wrap around.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write(&mut self, time: Duration, frame: &[u8]) -> io::Result<()> {
        let original_len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let captured_len = original_len.min(CAPTURED_LEN_MAX);
        let fields = [time.as_secs() as u32, time.subsec_nanos(), captured_len, original_len];
        let header: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        self.output.write_all(&header)?;
        self.output.write_all(&frame[..captured_len as usize])
    }

    /// Flushes, and gives back what was written to.
    ///
    /// # Errors
    /// If flushing fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.flush()?;
        Ok(self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &[u8]) -> Result<Vec<Captured>, PcapError> {
        PcapReader::new(file)?.collect()
    }

    #[test]
    fn what_is_written_is_read() {
        bolero::check!().with_type::<Vec<(u32, u32, Vec<u8>)>>().for_each(|packets| {
            let mut writer = PcapWriter::new(Vec::new()).unwrap();
            let time = |seconds: u32, nanos: u32| Duration::new(seconds.into(), nanos % 1_000_000_000);
            for (seconds, nanos, bytes) in packets {
                writer.write(time(*seconds, *nanos), bytes).unwrap();
            }
            let expected: Vec<_> = packets
                .iter()
                .map(|(seconds, nanos, bytes)| Captured {
                    time: time(*seconds, *nanos),
                    bytes: bytes.clone(),
                    original_len: bytes.len() as u32,
                })
                .collect();
            assert_eq!(read(&writer.finish().unwrap()).unwrap(), expected);
        });
    }

    /// All four kinds of files, as the format's description lays them out.
    #[test]
    fn byte_orders_and_units() {
        for (magic, time) in [(MAGIC_MICROS, Duration::new(7, 5000)), (MAGIC_NANOS, Duration::new(7, 5))] {
            for order in [u32::to_be_bytes, u32::to_le_bytes] {
                let versions = if order(1)[0] == 0 { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
                // An FCS length of 4 in the upper bits of the link type.
                let numbers = [0, 0, 65_535, 0x4000_0001, 7, 5, 3, 60].map(order);
                let file = [&order(magic)[..], &versions, numbers.as_flattened(), b"abc"].concat();
                let captured = Captured { time, bytes: b"abc".to_vec(), original_len: 60 };
                assert_eq!(read(&file).unwrap(), [captured]);
            }
        }
    }

    #[test]
    fn damaged_files() {
        let mut writer = PcapWriter::new(Vec::new()).unwrap();
        writer.write(Duration::ZERO, b"packet").unwrap();
        let file = writer.finish().unwrap();
        for len in (0..file.len()).filter(|len| *len != FILE_HEADER_LEN) {
            assert!(matches!(read(&file[..len]), Err(PcapError::Io(_))), "cut to {len}");
        }
        assert_eq!(read(&file[..FILE_HEADER_LEN]).unwrap(), []);
        let change = |place: usize, value: u32| {
            let mut changed = file.clone();
            changed[place..place + 4].copy_from_slice(&value.to_le_bytes());
            read(&changed).unwrap_err()
        };
        assert!(matches!(change(20, 113), PcapError::LinkType(113)));
        assert!(matches!(change(32, CAPTURED_LEN_MAX + 1), PcapError::TooLong(_)));
        assert!(change(0, 0x0a0d_0d0a).to_string().contains("pcapng"));
    }

    #[test]
    fn a_reader_ends_after_an_error() {
        let mut writer = PcapWriter::new(Vec::new()).unwrap();
        writer.write(Duration::ZERO, b"packet").unwrap();
        let mut file = writer.finish().unwrap();
        file.pop();
        let mut reader = PcapReader::new(file.as_slice()).unwrap();
        assert!(matches!(reader.next(), Some(Err(_))));
        assert!(reader.next().is_none());
    }

    #[test]
    fn any_bytes() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            let _ = read(bytes);
            // Behind a good header.
            let file = PcapWriter::new(Vec::new()).unwrap().finish().unwrap();
            let _ = read(&[&file[..], bytes].concat());
        });
    }
}
