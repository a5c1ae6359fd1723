//! A channel for batches that is bounded in bytes, never in batches or rows.
//!
//! Blocking readers (files, SQLite) work on a thread of their own and send through a lane; the other end is a
//! `BatchStream`. What waits in a lane is reserved from the run's budget. Dropping the stream stops the reader.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use synqx_model::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::budget::{Budget, Reservation};
use crate::read::BatchStream;

const UNIT: usize = 1024;

struct Item {
    batch: Result<RecordBatch>,
    _permit: Option<OwnedSemaphorePermit>,
    _held: Option<Reservation>,
}

/// The sending end, for blocking code.
#[derive(Debug)]
pub struct Sender {
    items: mpsc::UnboundedSender<Item>,
    room: Arc<Semaphore>,
    capacity: u32,
    budget: Budget,
    runtime: tokio::runtime::Handle,
}

impl Sender {
    /// Sends a batch, waiting for room. `false` when nobody listens any more.
    pub fn send(&self, batch: RecordBatch) -> Result<bool> {
        let bytes = batch_bytes(&batch);
        let units = u32::try_from(bytes / UNIT + 1)
            .unwrap_or(u32::MAX)
            .min(self.capacity);
        let room = Arc::clone(&self.room);
        let items = self.items.clone();
        let permit = self.runtime.block_on(async move {
            tokio::select! {
                permit = room.acquire_many_owned(units) => permit.ok(),
                () = items.closed() => None,
            }
        });
        let Some(permit) = permit else { return Ok(false) };
        let held = self
            .budget
            .reserve("batches waiting to be processed", bytes as u64)?;
        Ok(self
            .items
            .send(Item {
                batch: Ok(batch),
                _permit: Some(permit),
                _held: Some(held),
            })
            .is_ok())
    }
}

/// Runs a blocking reader on its own thread. It sends batches and may end with an error, which the stream yields.
/// `capacity` is how many bytes may wait.
pub fn spawn_reader(
    budget: &Budget,
    capacity: usize,
    read: impl FnOnce(&Sender) -> Result<()> + Send + 'static,
) -> BatchStream {
    let units = u32::try_from(capacity / UNIT)
        .unwrap_or(u32::MAX >> 4)
        .clamp(1, u32::MAX >> 4);
    let (items, mut received) = mpsc::unbounded_channel::<Item>();
    let sender = Sender {
        items: items.clone(),
        room: Arc::new(Semaphore::new(units as usize)),
        capacity: units,
        budget: budget.clone(),
        runtime: tokio::runtime::Handle::current(),
    };
    let task = tokio::task::spawn_blocking(move || {
        let outcome = read(&sender);
        if let Err(error) = outcome {
            let _ = sender.items.send(Item {
                batch: Err(error),
                _permit: None,
                _held: None,
            });
        }
    });
    drop(items);
    let stream = futures::stream::poll_fn(move |context| {
        received.poll_recv(context).map(|item| item.map(|i| i.batch))
    });
    let watched = stream.chain(
        futures::stream::once(async move {
            match task.await {
                Ok(()) => None,
                Err(failure) => Some(Err(Error::bug(format!("a reader thread stopped: {failure}")))),
            }
        })
        .filter_map(|item: Option<Result<RecordBatch>>| async move { item }),
    );
    Box::pin(watched)
}

/// Bytes of memory a batch holds on to, with everything its buffers share with others.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    batch.get_array_memory_size()
}

/// Bytes of the rows a batch shows: slices count their own part, views the text they point at.
pub fn visible_bytes(batch: &RecordBatch) -> u64 {
    let column = |column: &ArrayRef| match column.data_type() {
        DataType::Utf8View => column.as_string_view().total_buffer_bytes_used() + 16 * column.len(),
        DataType::BinaryView => column.as_binary_view().total_buffer_bytes_used() + 16 * column.len(),
        _ => column.to_data().get_slice_memory_size().unwrap_or(0),
    };
    batch.columns().iter().map(|c| column(c) as u64).sum()
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn batch(rows: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        RecordBatch::try_from_iter([("n", column)]).expect("a batch")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn never_holds_more_than_its_capacity_and_gives_everything_back() {
        let budget = Budget::new(synqx_model::ByteSize::mib(64));
        let stream = spawn_reader(&budget, 256 << 10, |sender| {
            for _ in 0..100 {
                if !sender.send(batch(8192))? {
                    break;
                }
            }
            Ok(())
        });
        let rows: usize = stream
            .map(|b| b.expect("a batch").num_rows())
            .collect::<Vec<_>>()
            .await
            .iter()
            .sum();
        assert_eq!(rows, 819_200);
        assert!(budget.peak() <= (512 << 10), "{} bytes waited", budget.peak());
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn yields_the_readers_error_last() {
        let budget = Budget::new(synqx_model::ByteSize::mib(64));
        let stream = spawn_reader(&budget, 1 << 20, |sender| {
            sender.send(batch(10))?;
            Err(Error::bug("broken"))
        });
        let items: Vec<_> = stream.collect().await;
        assert!(items.len() == 2 && items[0].is_ok() && items[1].is_err());
    }
}
