// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// What says that a slot is in use, as a policy of the slab: drivers' caches keep a
// live byte (live_bytes.hpp), client pools an owner for each slot (pool/owners.hpp).
// The slab gives the policy a part of its metadata block, `Marks`, right behind the
// slab's header; the slab's own bitmaps follow it.
//
//   Marks::bytes(size_class)      room that the marks need, a multiple of 8
//   Grantee                       who gets slots: a client, or nobody in particular
//   admit(slab, grantee, last)    under the class lock: may this slab serve it? `last`:
//                                 also by records saved for the last resort
//   grant(slab, word, bits, g)    under the class lock: records the grant of the slots
//                                 `bits` of bitmap word `word` (SlabGrant)
//   preferred(grantee, class, near)  optional, under the class lock: a slab to begin with;
//                                 best the one at the offset `near`, if that is one
//   is_spread(grantee, class)     under the class lock: may other CPUs have slots of the
//                                 grantee's, from which a CPU's first ones should lie apart?
//   free_of_marks(slab, w, bits)  under the class lock: the slots of `bits` that nobody
//                                 owns any more; only these may come home
//   begin(slab)                   optional: the slab is new, its marks are zero
//   made(slab, os), gone(slab, os)  optional, without a lock: before anything of it can be
//                                 taken, and when nothing of it can be reached any more
//   page_word(slab)               optional: what each of its pages holds for fast look-ups, in
//                                 a buddy that has words (buddy.hpp)
//   forget(slab)                  under the class lock: the empty slab is about to go
#pragma once

#include <concepts>

#include "size_class.hpp"

namespace quarry {

template <typename Policy>
class Slab;

// In place of an offset to take slots near: does not matter where; apart from what others have.
inline constexpr Offset kAnywhere = ~Offset{0};
inline constexpr Offset kApart = kAnywhere - 1;

// What became of the slots of one bitmap word.
struct SlabGrant {
    u32 granted;
    u32 duplicates;  // were marked as in use: a contradiction, reported and dropped
    bool foreign;    // their last owner may be another one
};

template <typename Policy>
concept OwnerPolicy = requires(Policy& policy, Slab<Policy>& slab, u32 word, u32 bits,
                               typename Policy::Grantee& grantee, const SizeClass& size_class) {
    { Policy::Marks::bytes(size_class) } -> std::same_as<u64>;
    { policy.admit(slab, grantee, bool{}) } -> std::same_as<bool>;
    { policy.grant(slab, word, bits, grantee) } -> std::same_as<SlabGrant>;
    { policy.free_of_marks(slab, word, bits) } -> std::same_as<u32>;
    { policy.forget(slab) };
    { policy.is_spread(grantee, u32{}) } -> std::same_as<bool>;
    // A homecoming that contradicts the marks: corruption, or a caller's double free.
    { Policy::kStrayIsCorruption } -> std::convertible_to<bool>;
};

}  // namespace quarry
