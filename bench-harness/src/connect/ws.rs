//! WebSocket around the connections, as far as idle ones need it: the request, frames with whole packets.
//!
//! The mask is zero, which costs the broker as much as any other.

/// A PINGREQ in a frame.
pub(super) const PING: [u8; 8] = [0x82, 0x82, 0, 0, 0, 0, 0xC0, 0];

/// The request for a WebSocket with MQTT in it.
pub(super) fn request(path: &str, host: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
    .into_bytes()
}

/// Length of the answer's head at the front of `bytes`, once it is whole.
pub(super) fn answer_len(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
        return Ok(None);
    };
    if bytes.starts_with(b"HTTP/1.1 101 ") {
        return Ok(Some(at + 4));
    }
    let line = bytes
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    Err(format!("no websocket: {}", String::from_utf8_lossy(line)))
}

/// Appends a packet in a frame of its own.
pub(super) fn wrap(packet: &[u8], out: &mut Vec<u8>) {
    out.push(0x82);
    match packet.len() {
        #[allow(clippy::cast_possible_truncation)] // the pattern says that it fits
        len @ 0..126 => out.push(0x80 | len as u8),
        len => {
            let len = u16::try_from(len).expect("the harness sends short packets");
            out.push(0x80 | 126);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(packet);
}

/// The frame at the front of `bytes`, once it is whole: length of its head, and of all.
pub(super) fn frame(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let (head, payload) = match (second, rest) {
        (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        (126, _) => return Ok(None),
        (127.., _) => return Err("a frame that is masked or too long".to_owned()),
        (len, _) => (2, usize::from(*len)),
    };
    match first {
        0x82 if bytes.len() < head + payload => Ok(None),
        0x82 => Ok(Some((head, head + payload))),
        0x88 => Err("closed by a close frame".to_owned()),
        _ => Err(format!("a frame that begins with 0x{first:02X}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_when_they_are_whole() {
        for len in [0, 2, 125, 126, 7000] {
            let mut wire = Vec::new();
            wrap(&vec![7; len], &mut wire);
            // As the server sends it: without mask.
            let head = if len < 126 { 2 } else { 4 };
            wire[1] &= 0x7F;
            wire.drain(head..head + 4);
            for cut in 0..wire.len() {
                assert_eq!(frame(&wire[..cut]), Ok(None), "{len} {cut}");
            }
            wire.push(0x82);
            assert_eq!(frame(&wire), Ok(Some((head, head + len))));
        }
        assert!(frame(b"\x88\x02\x03\xe8").is_err());
    }

    #[test]
    fn an_answer_is_101_or_an_error() {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n\x82\x02";
        assert_eq!(answer_len(head), Ok(Some(head.len() - 2)));
        assert_eq!(answer_len(&head[..20]), Ok(None));
        let said = answer_len(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap_err();
        assert!(said.contains("404"), "{said}");
    }
}
