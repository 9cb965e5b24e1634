//! A data key from its shares: Shamir's secret sharing over bytes, as SOPS and Vault write it.

/// The number of the field's elements but zero.
const ORDER: usize = 255;

/// The secret of these shares. Each has the values of polynomials at a point, and then the point. `None` if they do not belong
/// together.
pub(super) fn combined(shares: &[Vec<u8>]) -> Option<Vec<u8>> {
    let length = shares.first()?.len().checked_sub(1)?;
    if shares.iter().any(|share| share.len() != length + 1) {
        return None;
    }
    let points: Vec<u8> = shares.iter().map(|share| share[length]).collect();
    let weights: Option<Vec<u8>> = (0..points.len()).map(|at| weight(&points, at)).collect();
    let weights = weights?;
    let byte =
        |at: usize| shares.iter().zip(&weights).fold(0, |sum, (share, weight)| sum ^ product(share[at], *weight));
    Some((0..length).map(byte).collect())
}

/// The part of the value at zero that the value at one point has. `None` if a point is there twice, or is zero.
fn weight(points: &[u8], at: usize) -> Option<u8> {
    let own = points[at];
    let others = points.iter().enumerate().filter(|(other, _)| *other != at);
    others.map(|(_, other)| (*other, other ^ own)).try_fold(1, |all, (above, below)| {
        (own != 0 && below != 0).then(|| product(all, product(above, inverse(below))))
    })
}

/// The inverse of an element: all powers of an element repeat after the order.
fn inverse(element: u8) -> u8 {
    (1..ORDER).fold(1, |power, _| product(power, element))
}

/// The product in the field of 256 elements that AES uses.
fn product(mut one: u8, mut other: u8) -> u8 {
    let mut product = 0;
    while other > 0 {
        if other & 1 == 1 {
            product ^= one;
        }
        let carry = one & 0x80;
        one <<= 1;
        if carry > 0 {
            one ^= 0x1b;
        }
        other >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_three_shares_give_the_secret() {
        let (secret, slope) = ([7, 0, 255], [9, 1, 200]);
        let share = |point: u8| -> Vec<u8> {
            let values = secret.iter().zip(slope).map(|(secret, slope)| secret ^ product(slope, point));
            values.chain([point]).collect()
        };
        for points in [[1, 2], [200, 3], [255, 254]] {
            assert_eq!(combined(&points.map(share)).as_deref(), Some(&secret[..]), "{points:?}");
        }
        assert_eq!(combined(&[share(1), share(1)]), None);
        assert_eq!(combined(&[share(1), vec![1]]), None);
        assert_eq!(combined(&[]), None);
    }
}
