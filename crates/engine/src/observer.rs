//! Who looks at what clients publish, inside the server.

use std::sync::Arc;

use safeport_broker::Observed;

/// Is shown messages on the event loops' own threads: whoever takes longer than a few microseconds
/// hands them on.
pub trait Observer: Send + Sync + 'static {
    /// A client has published a message that is observed, or its will was published.
    fn published(&self, observed: Observed);
}

/// What somebody looks at.
pub(crate) struct Watch {
    pub(crate) filters: Vec<String>,
    pub(crate) observer: Arc<dyn Observer>,
}
