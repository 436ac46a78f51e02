//! `relay`: takes plain connections and speaks TLS to a broker for them, so that every load can be sent
//! over TLS. What it costs itself is no part of what is measured of the broker.

use std::convert::Infallible;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::cli::{RelayArgs, TlsVersionArg};
use crate::connect::tls::TlsPlan;
use crate::failure::{Context, Failure};
use crate::sys::wait_readable;

const PIECE_BYTES: usize = 64 * 1024;

/// Relays until the process is ended.
///
/// # Errors
/// When it cannot listen.
pub(crate) fn run(args: &RelayArgs) -> Result<Infallible, Failure> {
    let target: SocketAddr = args
        .target
        .parse()
        .map_err(|_| Failure::Usage(format!("`{}` is no address with a port", args.target)))?;
    let tls = if args.plain {
        None
    } else {
        let plan = TlsPlan::new("localhost", TlsVersionArg::V13, false, None);
        Some(Arc::new(plan.map_err(Failure::Usage)?))
    };
    let door = TcpListener::bind(&args.listen).context("cannot listen")?;
    loop {
        let (client, _) = door.accept().context("cannot accept")?;
        let tls = tls.clone();
        thread::spawn(move || {
            if let Ok(broker) = TcpStream::connect(target) {
                // An error ends both sides, which both see.
                let _ = match tls {
                    Some(plan) => seal(&client, &broker, &plan),
                    None => copy(&client, &broker),
                };
                let _ = client.shutdown(Shutdown::Both);
                let _ = broker.shutdown(Shutdown::Both);
            }
        });
    }
}

fn seal(mut client: &TcpStream, mut broker: &TcpStream, plan: &TlsPlan) -> io::Result<()> {
    let mut tls = plan.connection().map_err(io::Error::other)?;
    broker.set_nodelay(true)?;
    client.set_nodelay(true)?;
    tls.set_buffer_limit(None);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        while tls.wants_write() {
            tls.write_tls(&mut broker)?;
        }
        let [from_client, from_broker] = wait_readable([client, broker])?;
        if from_client && !tls.is_handshaking() {
            match client.read(&mut piece)? {
                0 => return Ok(()),
                count => tls.writer().write_all(&piece[..count])?,
            }
        }
        if from_broker {
            if tls.read_tls(&mut broker)? == 0 {
                return Ok(());
            }
            tls.process_new_packets().map_err(io::Error::other)?;
            loop {
                match tls.reader().read(&mut piece) {
                    Ok(0) => return Ok(()),
                    Ok(count) => client.write_all(&piece[..count])?,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

fn copy(client: &TcpStream, broker: &TcpStream) -> io::Result<()> {
    broker.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let [from_client, from_broker] = wait_readable([client, broker])?;
        for (ready, from, to) in [(from_client, client, broker), (from_broker, broker, client)] {
            let (mut from, mut to) = (from, to);
            if ready {
                match from.read(&mut piece)? {
                    0 => return Ok(()),
                    count => to.write_all(&piece[..count])?,
                }
            }
        }
    }
}
