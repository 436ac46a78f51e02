//! A proxy that commits one fault on one PUBLISH from the broker to a client.
#![allow(clippy::unwrap_used)] // A test's server may panic.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// What happens to the chosen PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Drop,
    Double,
    /// It leaves after the one that follows it on its connection.
    Swap,
    /// One bit of its last byte is flipped.
    Alter,
}

/// Starts a proxy before `broker`; the fault hits the `at`-th PUBLISH that passes to any client.
pub(crate) fn start(broker: SocketAddr, fault: Fault, at: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU64::new(0));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(broker).unwrap();
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let (from_client, to_server) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || copy(from_client, to_server));
            let count = Arc::clone(&count);
            thread::spawn(move || disturb(server, client, fault, at, &count));
        }
    });
    address
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // The end of either side ends the other.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

fn disturb(mut server: TcpStream, mut client: TcpStream, fault: Fault, at: u64, count: &AtomicU64) {
    let mut received = Vec::new();
    let mut held: Option<Vec<u8>> = None;
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n) = server.read(&mut buffer) {
        if n == 0 {
            break;
        }
        received.extend_from_slice(&buffer[..n]);
        let mut out = Vec::new();
        while let Some(length) = frame_length(&received) {
            let mut frame: Vec<u8> = received.drain(..length).collect();
            let is_publish = frame[0] >> 4 == 3;
            let is_chosen = is_publish && count.fetch_add(1, Ordering::Relaxed) + 1 == at;
            match fault {
                Fault::Drop if is_chosen => continue,
                Fault::Double if is_chosen => out.extend_from_slice(&frame),
                Fault::Swap if is_chosen => {
                    held = Some(frame);
                    continue;
                }
                Fault::Alter if is_chosen => *frame.last_mut().unwrap() ^= 1,
                _ => {}
            }
            out.extend_from_slice(&frame);
            if is_publish {
                out.extend(held.take().into_iter().flatten());
            }
        }
        if client.write_all(&out).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

fn frame_length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for index in 0..4 {
        let byte = *bytes.get(1 + index)?;
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let total = 2 + index + length;
            return (bytes.len() >= total).then_some(total);
        }
    }
    None
}
