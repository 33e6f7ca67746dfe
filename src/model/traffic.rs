//! How an endpoint's requests are shared among its deployments.

use serde::{Deserialize, Serialize};

use super::names::DeploymentName;

/// Integer percentages by deployment; their sum is 0 (no traffic) or 100.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(DeploymentName, u8)>", into = "Vec<(DeploymentName, u8)>")]
pub struct Traffic(Vec<(DeploymentName, u8)>);

/// Why a set of percentages cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrafficError {
    /// The sum is neither 0 nor 100.
    #[error("the percentages add up to {0}; they must add up to 100, or to 0 for no traffic")]
    Sum(u32),
    /// A deployment is named twice.
    #[error("deployment `{0}` is named twice")]
    Repeated(DeploymentName),
}

impl Traffic {
    /// The shares; a deployment that is not named has none.
    pub fn shares(&self) -> impl Iterator<Item = (&DeploymentName, u8)> {
        self.0.iter().map(|(name, percent)| (name, *percent))
    }
}

impl TryFrom<Vec<(DeploymentName, u8)>> for Traffic {
    type Error = TrafficError;

    fn try_from(mut shares: Vec<(DeploymentName, u8)>) -> Result<Traffic, TrafficError> {
        let sum = shares.iter().map(|(_, percent)| u32::from(*percent)).sum();
        if sum != 0 && sum != 100 {
            return Err(TrafficError::Sum(sum));
        }
        shares.sort();
        for pair in shares.windows(2) {
            if let [(a, _), (b, _)] = pair
                && a == b
            {
                return Err(TrafficError::Repeated(a.clone()));
            }
        }
        Ok(Traffic(shares))
    }
}

impl From<Traffic> for Vec<(DeploymentName, u8)> {
    fn from(traffic: Traffic) -> Self {
        traffic.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_zero_or_a_hundred() {
        let traffic = |shares: &[(&str, u8)]| {
            Traffic::try_from(shares.iter().map(|(n, p)| (n.parse().unwrap(), *p)).collect::<Vec<_>>())
        };
        assert!(traffic(&[]).is_ok());
        assert!(traffic(&[("blue", 0)]).is_ok());
        assert!(traffic(&[("blue", 90), ("green", 10)]).is_ok());
        assert_eq!(traffic(&[("blue", 90), ("green", 9)]), Err(TrafficError::Sum(99)));
        assert_eq!(
            traffic(&[("blue", 50), ("BLUE", 50)]),
            Err(TrafficError::Repeated("blue".parse().unwrap()))
        );
    }
}
