//! Core threads (signatures first).
pub fn start<C: CoreLoop>(config: &CoresConfig, wakers: Arc<Wakers>, make: impl Fn(usize, Guests) -> io::Result<C> + Send + Clone + 'static) -> io::Result<Cores>;
impl Cores { /* Err: a core failed or panicked: which and why; the process exits 1 */ pub fn join(self) -> Result<(), CoreFailed>; }
