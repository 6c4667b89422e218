//! Where an image goes to.

/// Something that takes an image in ascending order.
pub trait Sink {
    /// Takes bytes of the image, behind all that came before.
    fn data(&mut self, bytes: &[u8]) -> Result<(), SinkError>;

    /// Takes zeros that a reader may rely on.
    fn zeros(&mut self, len: u64) -> Result<(), SinkError>;

    /// Takes a range whose bytes do not matter.
    fn skip(&mut self, len: u64) -> Result<(), SinkError> {
        self.zeros(len)
    }

    /// Completes the output; what was taken is durable where the sink can promise that.
    fn finish(self: Box<Self>) -> Result<(), SinkError>;
}

/// A sink failed.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The target could not be written.
    #[error("cannot write {target}: {source}")]
    Io {
        /// What was written to, as the user named it.
        target: String,
        /// What the operating system says.
        source: std::io::Error,
    },
}
