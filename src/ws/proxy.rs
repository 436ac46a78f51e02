//! The PROXY header that a load balancer sends in front of a connection, version 1 and 2: who the
//! client is, and what it showed the balancer by TLS.
//!
//! Written after HAProxy's `proxy-protocol.txt` (2020/03/05).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Bytes that a header may have. Version 1 has at most 107, version 2 with the usual extensions some
/// hundred; a whole certificate may come in one as well.
pub const HEADER_BYTES_MAX: usize = 4 * 1024;

/// Bytes of the longest header of version 1.
const V1_BYTES_MAX: usize = 107;
const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_HEAD_BYTES: usize = 16;

const TLV_CRC32C: u8 = 0x03;
const TLV_SSL: u8 = 0x20;
const TLV_SSL_VERSION: u8 = 0x21;
const TLV_SSL_CN: u8 = 0x22;
/// The connection is TLS.
const CLIENT_SSL: u8 = 0x01;
/// A certificate was shown over this connection, or over one whose session it resumes.
const CLIENT_CERT: u8 = 0x02 | 0x04;

/// The longest name of a certificate's subject that is kept, in bytes: X.520 allows 64 characters.
const COMMON_NAME_BYTES_MAX: usize = 256;

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The client's address; none when the proxy speaks for itself, or does not know.
    pub source: Option<SocketAddr>,
    /// The client's TLS version, when it spoke TLS to the proxy.
    pub tls_version: Option<Box<str>>,
    /// The common name of a client certificate that the proxy has verified.
    pub common_name: Option<Box<str>>,
}

/// Bytes that are no PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoProxyHeader;

type Parsed = Result<Option<(ProxyHeader, usize)>, NoProxyHeader>;

/// Reads a header from the front of `bytes` and says how long it is; none while it is incomplete.
///
/// # Errors
/// When the bytes cannot become a header.
pub fn parse(bytes: &[u8]) -> Parsed {
    let begins = |start: &[u8]| {
        let len = start.len().min(bytes.len());
        bytes[..len] == start[..len]
    };
    if begins(V2_START) {
        parse_v2(bytes)
    } else if begins(V1_START) {
        parse_v1(bytes)
    } else {
        Err(NoProxyHeader)
    }
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let window = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = window.windows(2).position(|end| end == b"\r\n") else {
        return if bytes.len() < V1_BYTES_MAX {
            Ok(None)
        } else {
            Err(NoProxyHeader)
        };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| NoProxyHeader)?;
    let words: Vec<&str> = line.split(' ').collect();
    let source = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4", from, to, from_port, to_port] => {
            address::<Ipv4Addr>(to, to_port)?;
            Some(address::<Ipv4Addr>(from, from_port)?)
        }
        ["PROXY", "TCP6", from, to, from_port, to_port] => {
            address::<Ipv6Addr>(to, to_port)?;
            Some(address::<Ipv6Addr>(from, from_port)?)
        }
        _ => return Err(NoProxyHeader),
    };
    let header = ProxyHeader {
        source,
        ..ProxyHeader::default()
    };
    Ok(Some((header, end + 2)))
}

fn address<I: FromStr + Into<IpAddr>>(ip: &str, port: &str) -> Result<SocketAddr, NoProxyHeader> {
    let ip: I = ip.parse().map_err(|_| NoProxyHeader)?;
    let decimal = !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && (port == "0" || !port.starts_with('0'));
    let port: u16 = port.parse().ok().filter(|_| decimal).ok_or(NoProxyHeader)?;
    Ok(SocketAddr::new(ip.into(), port))
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    let Some(head) = bytes.first_chunk::<V2_HEAD_BYTES>() else {
        return Ok(None);
    };
    let [.., version_command, family, len_high, len_low] = *head;
    let len = usize::from(u16::from_be_bytes([len_high, len_low]));
    let whole = V2_HEAD_BYTES + len;
    if version_command >> 4 != 2 || whole > HEADER_BYTES_MAX {
        return Err(NoProxyHeader);
    }
    let is_local = match version_command & 0x0f {
        0 => true,
        1 => false,
        _ => return Err(NoProxyHeader),
    };
    // Family and transport; only streams come here, but who sends others is not our concern.
    let address_bytes = match family {
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        0x00 => 0,
        _ if is_local => 0,
        _ => return Err(NoProxyHeader),
    };
    let Some(body) = bytes.get(V2_HEAD_BYTES..whole) else {
        return Ok(None);
    };
    if is_local {
        return Ok(Some((ProxyHeader::default(), whole)));
    }
    let (addresses, extensions) = body.split_at_checked(address_bytes).ok_or(NoProxyHeader)?;
    let mut header = ProxyHeader {
        source: source_of(family, addresses),
        ..ProxyHeader::default()
    };
    // Without a family there may be anything behind the head.
    if family != 0 {
        read_extensions(&mut header, extensions, &bytes[..whole])?;
    }
    Ok(Some((header, whole)))
}

/// The source in the addresses of version 2: two addresses, then two ports.
fn source_of(family: u8, addresses: &[u8]) -> Option<SocketAddr> {
    let port = |at: usize| {
        let bytes = addresses.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    };
    match family >> 4 {
        1 => {
            let ip: [u8; 4] = *addresses.first_chunk()?;
            Some(SocketAddr::new(Ipv4Addr::from(ip).into(), port(8)?))
        }
        2 => {
            let ip: [u8; 16] = *addresses.first_chunk()?;
            Some(SocketAddr::new(Ipv6Addr::from(ip).into(), port(32)?))
        }
        _ => None,
    }
}

/// Type, length and value from the front of a list of extensions.
fn split_extension(list: &[u8]) -> Result<(u8, &[u8], &[u8]), NoProxyHeader> {
    let [kind, high, low, rest @ ..] = list else {
        return Err(NoProxyHeader);
    };
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    let (value, rest) = rest.split_at_checked(len).ok_or(NoProxyHeader)?;
    Ok((*kind, value, rest))
}

fn read_extensions(
    header: &mut ProxyHeader,
    mut list: &[u8],
    whole: &[u8],
) -> Result<(), NoProxyHeader> {
    while !list.is_empty() {
        let (kind, value, rest) = split_extension(list)?;
        match kind {
            TLV_CRC32C => {
                // Where the sum stands counts as zeroes.
                let at = whole.len() - rest.len() - value.len();
                let sum: [u8; 4] = value.try_into().map_err(|_| NoProxyHeader)?;
                if crc32c(whole, at) != u32::from_be_bytes(sum) {
                    return Err(NoProxyHeader);
                }
            }
            TLV_SSL => read_ssl(header, value)?,
            _ => {}
        }
        list = rest;
    }
    Ok(())
}

fn read_ssl(header: &mut ProxyHeader, value: &[u8]) -> Result<(), NoProxyHeader> {
    let [client, verify @ ..] = value else {
        return Err(NoProxyHeader);
    };
    let (verify, mut list) = verify.split_at_checked(4).ok_or(NoProxyHeader)?;
    // A certificate that was not verified proves nothing.
    let verified = client & CLIENT_CERT != 0 && verify == [0; 4];
    while !list.is_empty() {
        let (kind, value, rest) = split_extension(list)?;
        match kind {
            TLV_SSL_VERSION if client & CLIENT_SSL != 0 => header.tls_version = Some(name(value)?),
            TLV_SSL_CN if verified => header.common_name = Some(name(value)?),
            _ => {}
        }
        list = rest;
    }
    Ok(())
}

fn name(value: &[u8]) -> Result<Box<str>, NoProxyHeader> {
    let text = std::str::from_utf8(value).map_err(|_| NoProxyHeader)?;
    let fits = !text.is_empty() && text.len() <= COMMON_NAME_BYTES_MAX;
    if !fits || text.chars().any(char::is_control) {
        return Err(NoProxyHeader);
    }
    Ok(text.into())
}

/// CRC-32C of `bytes`, with the four bytes from `hole` taken as zeroes.
fn crc32c(bytes: &[u8], hole: usize) -> u32 {
    let mut crc = !0_u32;
    for (at, byte) in bytes.iter().enumerate() {
        let byte = if (hole..hole + 4).contains(&at) {
            0
        } else {
            *byte
        };
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
