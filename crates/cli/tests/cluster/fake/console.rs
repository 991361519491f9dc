//! The host's console of each VM: the same short log for all.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chv_proto::{convert, subject, v1};
use futures::StreamExt;
use prost::Message;

use super::{CONSOLE, State};

pub(super) async fn answer_consoles(
    mut consoles: async_nats::Subscriber,
    nats: async_nats::Client,
    state: Arc<Mutex<State>>,
) {
    while let Some(message) = consoles.next().await {
        let (_, _, kind) = subject::parse_console(&message.subject).unwrap();
        let reply = match kind {
            subject::ConsoleMessage::Read => {
                let read = v1::ConsoleRead::decode(message.payload).unwrap();
                let found = {
                    let mut state = state.lock().unwrap();
                    state.reads += 1;
                    let vm = state.projection.vm(read.vm.parse().unwrap());
                    vm.map(|vm| vm.is_running())
                };
                let refused = found
                    .is_none()
                    .then(|| convert::refused("not_found", "it is not on this host", ""));
                let running = found.unwrap_or(false);
                let log = if running { CONSOLE } else { b"" };
                let length = log.len() as u64;
                let offset = read
                    .tail
                    .map_or(read.offset, |tail| length.saturating_sub(tail))
                    .min(length);
                let chunk = v1::ConsoleChunk {
                    offset,
                    data: log[offset as usize..].iter().copied().take(7).collect(),
                    running,
                    refused,
                };
                if chunk.data.is_empty() {
                    // A long poll, in short.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                chunk.encode_to_vec()
            }
            subject::ConsoleMessage::Write => {
                let write = v1::ConsoleWrite::decode(message.payload).unwrap();
                let mut state = state.lock().unwrap();
                let vm = state.projection.vm(write.vm.parse().unwrap()).unwrap();
                let refused = (!vm.is_running()).then(|| convert::refused("state", "it does not run", ""));
                state.typed.extend(write.data);
                v1::ConsoleWritten { refused }.encode_to_vec()
            }
        };
        if let Some(to) = message.reply {
            nats.publish(to, reply.into()).await.unwrap();
        }
    }
}
