//! Listeners of a whole broker in this process: stopped, started, and what stays of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::boot::{self, run};
use crate::cli::Arguments;
use crate::gate::command::Command;
use crate::gate::listeners::{ListenerControl, ListenerState};

const PATIENCE: Duration = Duration::from_secs(20);
const CONNECT: &[u8] = b"\x10\x0e\0\x04MQTT\x04\x02\0\0\0\x02";

fn connect(stream: &mut (impl Read + Write), id: &str) {
    stream
        .write_all(&[CONNECT, id.as_bytes()].concat())
        .unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack, *b"\x20\x02\0\0");
}

fn ping(stream: &mut TcpStream) {
    stream.write_all(b"\xc0\0").unwrap();
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"\xd0\0");
}

fn client(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn start(folder: &Path, socket: &Path) -> run::Broker {
    let arguments = Arguments {
        cores: Some("2".to_owned()),
        data_dir: Some(folder.display().to_string()),
        listen: vec![
            "tcp://127.0.0.1:0".to_owned(),
            format!("unix://{}", socket.display()),
        ],
        set: vec![
            "node.pin_cores=false".to_owned(),
            "http.listen=off".to_owned(),
            "listeners.tcp.default.max_connections=100".to_owned(),
        ],
        ..Arguments::default()
    };
    let ready = boot::prepare(&arguments).unwrap_or_else(|why| panic!("{why}"));
    run::start(&ready).unwrap_or_else(|why| panic!("{why}"))
}

fn state(broker: &run::Broker, id: &str) -> ListenerState {
    let states = broker.listeners.states();
    states.into_iter().find(|state| state.id == id).unwrap()
}

#[test]
fn a_listener_stops_and_starts_and_its_clients_stay() {
    let folder = std::env::temp_dir().join(format!("millrace-listeners-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let socket: PathBuf = folder.with_extension("sock");
    let broker = start(&folder, &socket);
    let tcp = state(&broker, "tcp:default");
    assert_eq!((tcp.kind, tcp.running), ("tcp", true));
    assert_eq!(
        (tcp.current_connections, tcp.max_connections),
        (0, Some(100))
    );
    let address: SocketAddr = tcp.bind.parse().unwrap();
    let mut first = client(address).unwrap();
    connect(&mut first, "a1");
    let mut second = client(address).unwrap();
    connect(&mut second, "a2");
    assert_eq!(state(&broker, "tcp:default").current_connections, 2);

    let listeners = &broker.listeners;
    assert!(
        listeners
            .stop("tcp:other")
            .unwrap_err()
            .contains("no listener")
    );
    listeners.stop("tcp:default").unwrap();
    listeners.stop("tcp:default").unwrap();
    assert!(!state(&broker, "tcp:default").running);
    assert!(client(address).is_err(), "nobody listens there");
    ping(&mut first);
    connect(&mut UnixStream::connect(&socket).unwrap(), "u1");

    listeners.start("tcp:default").unwrap();
    listeners.start("tcp:default").unwrap();
    assert!(state(&broker, "tcp:default").running);
    ping(&mut second);
    for id in ["b1", "b2", "b3", "b4", "b5", "b6"] {
        connect(&mut client(address).unwrap(), id);
    }
    for _ in 0..20 {
        listeners.restart("tcp:default").unwrap();
        connect(&mut client(address).unwrap(), "c1");
    }
    ping(&mut first);

    listeners.stop("unix:default").unwrap();
    assert!(!socket.exists());
    listeners.start("unix:default").unwrap();
    connect(&mut UnixStream::connect(&socket).unwrap(), "u2");
    listeners.remove_files();
    assert!(!socket.exists());
    broker.gate.ask_all(|| Command::Exit);
    broker.ended.recv_timeout(PATIENCE).unwrap().unwrap();
    broker.control.stop();
    broker.indexer.stop();
    std::fs::remove_dir_all(&folder).unwrap();
}
