//! Queries.

use chv_domain::Seq;
use prost::Message as _;

use crate::convert::{Asked, decode_query, encode_query};
use crate::v1;

#[test]
fn a_query_of_another_kind_or_version_or_without_content_is_refused() {
    let asked = Asked {
        query: v1::query_envelope::Query::GetStatus(v1::GetStatus { digest: true }),
        min_seq: Seq(7),
        at: None,
        trace: None,
    };
    let envelope = encode_query(&asked);
    let decode = |envelope: &v1::QueryEnvelope, kind| decode_query(&envelope.encode_to_vec(), kind);
    assert_eq!(decode(&envelope, "status.get"), Ok(asked));
    assert_eq!(decode(&envelope, "vm.get").unwrap_err().code, "subject_mismatch");
    let newer = v1::QueryEnvelope {
        version: 2,
        ..envelope.clone()
    };
    assert_eq!(
        decode(&newer, "status.get").unwrap_err().code,
        "unsupported_version"
    );
    let empty = v1::QueryEnvelope {
        query: None,
        ..envelope
    };
    assert_eq!(decode(&empty, "status.get").unwrap_err().field, "query");
    assert_eq!(decode_query(&[0xff], "status.get").unwrap_err().code, "malformed");
}
