//! Reads the state before the first kept event from the leader: the bytes of a file, piece by piece.

use chv_proto::client::QueryError;
use chv_proto::subject::Audience;
use chv_proto::v1::query_envelope::Query;
use chv_proto::v1::{self, query_reply};

use super::PATIENCE;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::refusal;
use crate::session::{Session, unfit};

fn not_there(error: QueryError) -> Failure {
    let QueryError::Refused(refused) = error else {
        return refusal::query(error);
    };
    let what =
        "this cluster has forgotten its first events, and the backup needs the state before the others";
    Failure::new(Exit::Rejected, format!("{what}: {refused}")).or_try(
        "stop one replica, and `chv log export FILE --data DIR` there: that archive holds the state and what is kept",
    )
}

/// The file, and the cluster's id. Whether it is whole is its own digest's to tell.
pub(super) async fn read(session: &Session) -> Result<(Vec<u8>, String), Failure> {
    let client = session.client().await?;
    let (mut file, mut digest) = (Vec::new(), Vec::new());
    loop {
        let query = Query::ReadBase(v1::ReadBase {
            digest: digest.clone(),
            offset: file.len() as u64,
        });
        let patience = session.patience(PATIENCE);
        let asked = client.query(Audience::Leader, query, None, patience);
        let reply = tokio::select! {
            reply = asked => reply.map_err(not_there)?,
            () = session.interrupt().heard() => {
                return Err(Failure::new(Exit::Interrupted, "interrupted; no file was written"));
            }
        };
        let Some(query_reply::Result::Base(piece)) = reply.result else {
            return Err(unfit());
        };
        if piece.digest != digest {
            // Another replica leads now, or more was forgotten.
            file.clear();
            digest = piece.digest;
        }
        let ended = piece.data.is_empty();
        file.extend(piece.data);
        if file.len() as u64 >= piece.size {
            return Ok((file, piece.cluster));
        }
        if ended {
            return Err(unfit());
        }
    }
}
