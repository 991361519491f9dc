//! What a guest is told at its first boot.

use chv_domain::spec::{CloudInit, CloudText};

use super::each;
use crate::convert::error::{WireError, parse};
use crate::v1;

pub(crate) fn cloud_init_to_wire(cloud_init: &CloudInit) -> v1::CloudInit {
    let text = |text: &Option<CloudText>| {
        text.as_ref()
            .map(|text| text.as_str().to_owned())
            .unwrap_or_default()
    };
    v1::CloudInit {
        user_data: text(&cloud_init.user_data),
        network_config: text(&cloud_init.network_config),
        meta_data: text(&cloud_init.meta_data),
        ssh_keys: cloud_init.ssh_keys.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn cloud_init_from_wire(cloud_init: v1::CloudInit) -> Result<CloudInit, WireError> {
    Ok(CloudInit {
        user_data: text("user_data", cloud_init.user_data)?,
        network_config: text("network_config", cloud_init.network_config)?,
        meta_data: text("meta_data", cloud_init.meta_data)?,
        ssh_keys: each("ssh_keys", cloud_init.ssh_keys, |key| parse("key", &key))?,
    })
}

fn text(field: &str, text: String) -> Result<Option<CloudText>, WireError> {
    let given = Some(text).filter(|text| !text.is_empty());
    given
        .map(CloudText::try_from)
        .transpose()
        .map_err(|error| WireError::new(field, error))
}
