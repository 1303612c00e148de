//! Incremental changes of a config (KIP-339), before anything is written.

use ottla_config::Properties;
use ottla_config::key::Key;
use ottla_config::value::Type;
use ottla_model::ErrorCode;

use super::ApiError;

/// What to do with a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OperationKind {
    /// Set its value.
    Set,
    /// Take its value back.
    Delete,
    /// Add elements to a list.
    Append,
    /// Remove elements from a list.
    Subtract,
}

impl OperationKind {
    /// The operation of a number in IncrementalAlterConfigs.
    pub(crate) fn from_id(id: i8) -> Option<Self> {
        match id {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }
}

/// One incremental change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Operation {
    /// The key.
    pub(crate) name: String,
    /// What to do with it; none for a number that Kafka does not know.
    pub(crate) kind: Option<OperationKind>,
    /// The number of the operation, as it came.
    pub(crate) id: i8,
    /// The value; it is checked to be there unless the operation deletes.
    pub(crate) value: Option<String>,
}

/// Performs operations on `properties` (`ConfigAdminManager.prepareIncrementalConfigs`).
pub(super) fn perform(
    operations: &[Operation],
    properties: &mut Properties,
    key: impl Fn(&str) -> Option<&'static Key>,
) -> Result<(), ApiError> {
    for operation in operations {
        let name = &operation.name;
        let value = operation.value.as_deref().unwrap_or_default();
        let elements = |what: &str| {
            // Java fails on a key that it does not find, with nothing to say about it.
            let key = key(name).ok_or_else(ApiError::unknown)?;
            if key.kind != Type::List {
                let message = format!("Config value {what} is not allowed for config key: {name}");
                return Err(ApiError::new(ErrorCode::InvalidConfig, message));
            }
            let old = properties.get(name).map(String::as_str).or(key.default);
            Ok(split(old.unwrap_or_default()))
        };
        match operation.kind {
            None => return Err(ApiError::unknown()),
            Some(OperationKind::Set) => {
                properties.insert(name.clone(), value.to_owned());
            }
            Some(OperationKind::Delete) => {
                properties.remove(name);
            }
            Some(OperationKind::Append) => {
                let mut list = elements("append")?;
                list.retain(|element| !element.is_empty());
                let new = split(value)
                    .into_iter()
                    .filter(|element| !list.contains(element));
                let new: Vec<String> = new.collect();
                list.extend(new);
                properties.insert(name.clone(), list.join(","));
            }
            Some(OperationKind::Subtract) => {
                let mut list = elements("subtract")?;
                for element in split(value) {
                    if let Some(index) = list.iter().position(|old| *old == element) {
                        list.remove(index);
                    }
                }
                properties.insert(name.clone(), list.join(","));
            }
        }
    }
    Ok(())
}

fn split(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use ottla_config::keys;

    use super::*;

    fn check(before: &[(&str, &str)], operation: (i8, &str, &str), expect: Result<&str, &str>) {
        let mut properties: Properties = before
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let (id, name, value) = operation;
        let operation = Operation {
            name: name.to_owned(),
            kind: OperationKind::from_id(id),
            id,
            value: Some(value.to_owned()),
        };
        let result = perform(&[operation], &mut properties, keys::topic_key);
        let result = result
            .map(|()| {
                properties
                    .get(name)
                    .cloned()
                    .unwrap_or_else(|| "(unset)".to_owned())
            })
            .map_err(|error| error.message.unwrap_or_default());
        assert_eq!(result, expect.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn values_are_set_taken_back_added_and_removed() {
        let name = "cleanup.policy";
        check(&[], (0, name, "compact"), Ok("compact"));
        check(&[(name, "compact")], (1, name, ""), Ok("(unset)"));
        check(&[], (2, name, "compact"), Ok("delete,compact"));
        check(
            &[(name, "compact")],
            (2, name, "compact,delete"),
            Ok("compact,delete"),
        );
        check(
            &[(name, "compact,delete")],
            (3, name, "delete"),
            Ok("compact"),
        );
        check(&[], (3, name, "nothing"), Ok("delete"));
        check(&[], (1, "no.such", ""), Ok("(unset)"));
    }

    #[test]
    fn only_lists_have_elements() {
        let message = "Config value append is not allowed for config key: retention.ms";
        check(&[], (2, "retention.ms", "1"), Err(message));
        let message = "Config value subtract is not allowed for config key: retention.ms";
        check(&[], (3, "retention.ms", "1"), Err(message));
        check(&[], (2, "no.such", "1"), Err(""));
        check(&[], (9, "retention.ms", "1"), Err(""));
    }
}
