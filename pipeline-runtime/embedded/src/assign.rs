//! Who should own which partition: balanced, and moving as little as possible. Pure.

/// For each partition the index of the member that should own it. `current` holds the index of the member that owns it
/// now. Members differ by at most one partition, and a partition moves only where balance asks for it.
pub(crate) fn assign(current: &[Option<usize>], members: usize) -> Vec<Option<usize>> {
    if members == 0 {
        return vec![None; current.len()];
    }
    let mut owned: Vec<Vec<usize>> = vec![Vec::new(); members];
    for (partition, owner) in current.iter().enumerate() {
        if let Some(list) = owner.and_then(|o| owned.get_mut(o)) {
            list.push(partition);
        }
    }
    // Who has most may keep the one more, so that fewest move; among equals who came first.
    let mut order: Vec<usize> = (0..members).collect();
    order.sort_by_key(|m| std::cmp::Reverse(owned[*m].len()));
    let (least, more) = (current.len() / members, current.len() % members);
    let mut target = vec![None; current.len()];
    let mut room = vec![0; members];
    for (place, member) in order.iter().enumerate() {
        let quota = least + usize::from(place < more);
        for partition in owned[*member].iter().take(quota) {
            target[*partition] = Some(*member);
        }
        room[*member] = quota.saturating_sub(owned[*member].len());
    }
    let mut next = 0;
    for slot in target.iter_mut().filter(|t| t.is_none()) {
        while next < members && room[next] == 0 {
            next += 1;
        }
        if let Some(left) = room.get_mut(next) {
            *left -= 1;
            *slot = Some(next);
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_newcomer_takes_only_its_share() {
        let before = assign(&[None; 6], 1);
        assert_eq!(before, [Some(0); 6]);
        let two = assign(&before, 2);
        assert_eq!(two, [Some(0), Some(0), Some(0), Some(1), Some(1), Some(1)]);
        let three = assign(&two, 3);
        assert_eq!(three, [Some(0), Some(0), Some(2), Some(1), Some(1), Some(2)]);
    }

    proptest! {
        #[test]
        fn balanced_and_sticky(current in prop::collection::vec(prop::option::of(0usize..6), 0..40), members in 1usize..6) {
            let current: Vec<_> = current.into_iter().map(|o| o.filter(|m| *m < members)).collect();
            let target = assign(&current, members);
            let mut shares = vec![0usize; members];
            for owner in &target {
                shares[owner.expect("everything is assigned")] += 1;
            }
            let (least, most) = (*shares.iter().min().unwrap(), *shares.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{:?}", shares);
            // Who gained something lost nothing: no partition moves between members without need.
            for (member, share) in shares.iter().enumerate() {
                let had = current.iter().filter(|o| **o == Some(member)).count();
                let kept = (0..current.len()).filter(|p| current[*p] == Some(member) && target[*p] == Some(member)).count();
                prop_assert_eq!(kept, had.min(*share));
            }
            // Doing it again changes nothing.
            prop_assert_eq!(assign(&target, members), target);
        }
    }
}
