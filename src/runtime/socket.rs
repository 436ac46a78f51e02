//! Questions to ordinary sockets (signatures first).
pub fn peer_address(fd: BorrowedFd<'_>) -> io::Result<SocketAddr>;
pub fn local_address(fd: BorrowedFd<'_>) -> io::Result<SocketAddr>;
