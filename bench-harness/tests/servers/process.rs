//! Other people's servers, started for one test and ended with it.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::Scratch;

/// How long a server may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A server; killed when the value goes.
pub struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a program that listens there.
    pub fn start(command: &mut Command, scratch: &Scratch, listens: SocketAddr) -> Self {
        let name = Path::new(command.get_program()).file_name().unwrap();
        let log = scratch.path(&format!("{}.log", name.to_string_lossy()));
        let file = fs::File::create(&log).unwrap();
        command.stdin(Stdio::null());
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap();
        let mut server = Self { child, log };
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(listens).is_err() {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", server.log());
            assert!(Instant::now() < deadline, "not in time: {}", server.log());
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}:\n{}", self.log.display(), self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports below those that the system gives to clients.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// An address that is free and that no other test of this process is given: these servers cannot be
/// asked for one, and some of them share a port with whoever else wants it.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 997).unwrap() * 12;
    loop {
        let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + number % (PORTS.end - PORTS.start);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// The path of a program, if it is installed.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders
        .map(|folder| folder.join(program))
        .find(|file| file.exists())
}

/// Says that a test cannot be run.
pub fn skipped(test: &str, why: &str) {
    println!("SKIPPED {test}: {why}; `scripts/test.sh servers` installs it");
}

/// A certificate authority with a server's and a client's certificate, as files.
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    pub fn new(scratch: &Scratch, client: &str) -> Self {
        let folder = scratch.path("certificates");
        fs::create_dir_all(&folder).unwrap();
        let all = Self { folder };
        all.openssl(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem",
        );
        fs::write(
            all.path("san"),
            "subjectAltName=DNS:localhost,IP:127.0.0.1\n",
        )
        .unwrap();
        for (name, subject) in [("server", "localhost"), ("client", client)] {
            all.openssl(&format!(
                "req -newkey rsa:2048 -nodes -subj /CN={subject} -keyout {name}.key -out {name}.csr"
            ));
            all.openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                 -extfile san -out {name}.pem"
            ));
        }
        let both = [
            fs::read(all.path("server.pem")),
            fs::read(all.path("server.key")),
        ];
        fs::write(all.path("both.pem"), both.map(Result::unwrap).concat()).unwrap();
        all
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command
            .current_dir(&self.folder)
            .args(arguments.split_whitespace());
        let output = command.output().unwrap();
        assert!(output.status.success(), "openssl {arguments}: {output:?}");
    }
}
