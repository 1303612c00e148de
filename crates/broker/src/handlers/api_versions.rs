//! ApiVersions (key 18, versions 0–4): which APIs are served, in Kafka 3.9's exact ranges
//! (`ApiVersionManager`, `ApiVersionsRequest.isValid`).

use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;
use ottla_model::ErrorCode;
use ottla_network::RequestContext;
use ottla_protocol::{Api, ApiTable, keys};

use crate::finalized_features::Finalized;

/// The largest version of this API; a request above it is answered in version 0's form.
pub(crate) const MAX_VERSION: i16 = 4;

/// Answers a request of a version that is served.
pub(crate) fn handle(
    table: &ApiTable,
    features: &Finalized,
    context: &RequestContext,
    request: &ApiVersionsRequest,
) -> ApiVersionsResponse {
    let named = context.header.api_version >= 3;
    if named
        && !(is_software_word(request.client_software_name.as_str())
            && is_software_word(request.client_software_version.as_str()))
    {
        return ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
    }
    ApiVersionsResponse::default()
        .with_api_keys(table.advertised().map(version_range).collect())
        .with_finalized_features_epoch(features.epoch)
        .with_finalized_features(features.levels.iter().map(finalized).collect())
}

fn finalized((name, level): &(String, i16)) -> FinalizedFeatureKey {
    FinalizedFeatureKey::default()
        .with_name(StrBytes::from_string(name.clone()))
        .with_max_version_level(*level)
        .with_min_version_level(*level)
}

/// Answers a request of an unknown version: the caller writes it in version 0's form, and the
/// client asks again with a version that it finds in it (KIP-511).
pub(crate) fn unsupported_version() -> ApiVersionsResponse {
    let own = Api::find(keys::API_VERSIONS).map(version_range);
    ApiVersionsResponse::default()
        .with_error_code(ErrorCode::UnsupportedVersion.code())
        .with_api_keys(own.into_iter().collect())
}

fn version_range(api: &Api) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(api.key)
        .with_min_version(api.min_version)
        .with_max_version(api.max_version)
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`
fn is_software_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter()
        .all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_are_words_of_letters_digits_dots_and_dashes() {
        for good in ["a", "apache-kafka-java", "3.9.1", "0"] {
            assert!(is_software_word(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".", "a b", "a_b", "é"] {
            assert!(!is_software_word(bad), "{bad}");
        }
    }
}
