//! Answers hosts that ask for all they should run. Any replica does, from what it has applied; a host never
//! takes an answer that is older than what it knows.

use chv_domain::ids::IdError;
use chv_domain::{HostId, HostName, HostSlice, RejectionCode, Seq, VmId};
use chv_proto::convert::{self, refused};
use chv_proto::{subject, v1};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::connection::SubscribeError;
use crate::query::{Reader, page};
use crate::serve;

/// Answers until `stop`.
pub(crate) async fn answer(reader: Reader, stop: CancellationToken) -> Result<(), SubscribeError> {
    let requests = reader.connection.share(subject::HOST_SLICES).await?;
    serve::each(requests, stop, |message| answer_one(reader.clone(), message)).await;
    Ok(())
}

async fn answer_one(reader: Reader, message: async_nats::Message) {
    let Ok((name, _)) = subject::parse_host(&message.subject) else {
        return;
    };
    let Some(inbox) = message
        .reply
        .filter(|inbox| subject::is_inbox_of_host(&name, inbox))
    else {
        debug!(host = %name, "a slice is asked for without the host's inbox to answer to");
        return;
    };
    let answer = match v1::SliceRequest::decode(message.payload.as_ref()) {
        Ok(request) => slice(&reader, &name, &request).await,
        Err(error) => Err(refused(
            "malformed",
            format!("the payload is not a SliceRequest: {error}"),
            "",
        )),
    };
    let refusal = |refused| v1::HostSlice {
        refused: Some(refused),
        version: convert::VERSION,
        ..v1::HostSlice::default()
    };
    let answer = answer.unwrap_or_else(refusal);
    reader.connection.publish(inbox, answer.encode_to_vec()).await;
}

async fn slice(
    reader: &Reader,
    name: &HostName,
    request: &v1::SliceRequest,
) -> Result<v1::HostSlice, v1::Refused> {
    convert::check_version(request.version)
        .map_err(|error| refused("unsupported_version", error.to_string(), &error.field))?;
    let invalid = |error: IdError| refused("invalid", error.to_string(), "");
    let id: HostId = request.host.parse().map_err(invalid)?;
    let after: Option<VmId> = match request.after.as_str() {
        "" => None,
        after => Some(after.parse().map_err(invalid)?),
    };
    let state = reader.state_with(Seq(request.min_feed)).await?;
    let slice = HostSlice::of(&state, id).filter(|_| state.host(id).is_some_and(|host| host.name == *name));
    let Some(slice) = slice else {
        let message = format!("no host {name} with the id {id} is registered");
        return Err(refused(RejectionCode::NotFound.as_str(), message, ""));
    };
    let vms = slice
        .vms
        .iter()
        .filter(|vm| after.is_none_or(|after| vm.vm > after));
    let (vms, more) = page(vms.map(convert::desired_to_wire), 0, reader.page_bytes());
    Ok(v1::HostSlice {
        host: id.to_string(),
        feed: slice.feed.0,
        vms,
        more,
        refused: None,
        version: convert::VERSION,
    })
}
