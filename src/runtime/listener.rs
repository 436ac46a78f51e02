//! Listeners (signatures first).
pub struct ListenerConfig { pub address: SocketAddr, pub backlog: u32 }
/// One SO_REUSEPORT listener a core on the same port (port 0: the first picks).
pub fn bind(config: &ListenerConfig, cores: usize) -> io::Result<(SocketAddr, Vec<OwnedFd>)>;
