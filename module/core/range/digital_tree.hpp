// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// A digital search tree: a binary tree in which a node stands at depth d below the root only
// where the first d bits of its key lead. It needs no rebalancing: the depth is at most the
// number of bits, whatever is done to it, and about log2 of the number of nodes when the
// keys differ in their first bits. (Coffman and Eve 1970; Knuth, volume 3, 6.3.)
//
// Nodes are numbers above 0, and two numbers of each are its children; the View says where
// these stand and what the key is. All keys are different. A tree is its root's slot; one
// `bits` belongs to each tree: all its keys agree above the lowest `bits` bits.
//
// Costs: each call visits at most `bits` + 1 nodes, at_least and at_most twice that; a torn
// tree leads no search astray for longer. One caller at a time.
#pragma once

#include "../base/types.hpp"

namespace quarry {

// What counts the steps of a RangeAllocator: one for each node, head or word of a bitmap that
// a call visits. This one counts nothing and costs nothing; a test brings its own.
struct NoSteps {
    static void step() {}
};

template <typename View, typename Steps>
class DigitalTree {
public:
    using Key = typename View::Key;
    // Bits of a key at most.
    static constexpr unsigned kDeepest = 96;

    explicit DigitalTree(View view) : view_(view) {}

    // The slot that holds the node of this key; or the empty one where it would stand.
    u32* locate(u32* slot, Key key, unsigned bits) const {
        while (const u32 node = *slot) {
            Steps::step();
            if (view_.key(node) == key || bits == 0) break;
            slot = &view_.kids(node)[bit(key, --bits)];
        }
        return slot;
    }

    // `slot` is what locate() found empty for this node's key.
    void insert(u32* slot, u32 node) const {
        view_.kids(node)[0] = view_.kids(node)[1] = 0;
        *slot = node;
    }

    // Takes the node out of its slot. A leaf below it, which agrees in all bits that lead to
    // the slot, takes its place.
    void remove(u32* slot) const {
        u32* const kids = view_.kids(*slot);
        if ((kids[0] | kids[1]) == 0) {
            *slot = 0;
            return;
        }
        u32 leaf = *slot;
        u32* at = slot;
        for (;;) {
            Steps::step();
            u32* const below = view_.kids(leaf);
            u32* const down = below[0] ? &below[0] : &below[1];
            if (*down == 0) break;
            at = down;
            leaf = *down;
        }
        *at = 0;
        view_.kids(leaf)[0] = kids[0];
        view_.kids(leaf)[1] = kids[1];
        *slot = leaf;
    }

    // The node of the smallest, of the greatest key. 0: the tree is empty.
    u32 least(u32 root) const { return extreme(root, 0); }
    u32 greatest(u32 root) const { return extreme(root, 1); }

    // The node of the smallest key that is `key` at least; of the greatest that is `key` at
    // most. `key` itself agrees above the lowest `bits`, too. 0: there is none.
    u32 at_least(u32 root, Key key, unsigned bits) const { return nearest(root, key, bits, 1); }
    u32 at_most(u32 root, Key key, unsigned bits) const { return nearest(root, key, bits, 0); }

    // fn(node) for each, in no order. False: the tree is deeper than `bits`, so it is torn;
    // then some were left out.
    template <typename Fn>
    bool for_each(u32 root, unsigned bits, Fn&& fn) const {
        u32 waiting[kDeepest];  // right children of the nodes on the way
        u8 depth_of[kDeepest];
        unsigned top = 0;
        unsigned depth = 0;
        for (u32 node = root; node;) {
            fn(node);
            const u32* const kids = view_.kids(node);
            const bool inner = (kids[0] | kids[1]) != 0;
            if (inner && depth == bits) return false;
            if (kids[0] && kids[1]) {
                if (top == kDeepest) return false;
                waiting[top] = kids[1];
                depth_of[top++] = static_cast<u8>(depth + 1);
            }
            if (inner) {
                node = kids[0] ? kids[0] : kids[1];
                ++depth;
            } else if (top > 0) {
                node = waiting[--top];
                depth = depth_of[top];
            } else {
                node = 0;
            }
        }
        return true;
    }

private:
    static unsigned bit(Key key, unsigned at) { return static_cast<unsigned>(key >> at) & 1; }
    // Is a beyond b, seen in the direction of `side`?
    static bool beyond(Key a, Key b, unsigned side) { return side ? a > b : a < b; }

    // In a tree's nodes the key decides about the side of whatever stands below, not about
    // the node's own: so every node on the way is a candidate.
    u32 extreme(u32 root, unsigned side) const {
        u32 best = root;
        unsigned left = kDeepest;
        for (u32 node = root; node && left-- > 0;) {
            Steps::step();
            if (beyond(view_.key(node), view_.key(best), side)) best = node;
            u32* const kids = view_.kids(node);
            node = kids[side] ? kids[side] : kids[side ^ 1];
        }
        return best;
    }

    // The nearest on the `side` of key: on the way to where it would stand, or the nearest
    // in the last subtree that the way left aside.
    u32 nearest(u32 root, Key key, unsigned bits, unsigned side) const {
        u32 best = 0;
        u32 aside = 0;
        for (u32 node = root; node;) {
            Steps::step();
            const Key here = view_.key(node);
            if (here == key) return node;
            if (beyond(here, key, side)) best = nearer(best, node, side);
            u32* const kids = view_.kids(node);
            if (bits == 0) break;
            const unsigned way = bit(key, --bits);
            if (way != side && kids[side]) aside = kids[side];
            node = kids[way];
        }
        return aside ? nearer(best, extreme(aside, side ^ 1), side) : best;
    }
    u32 nearer(u32 a, u32 b, unsigned side) const {
        return a == 0 || beyond(view_.key(a), view_.key(b), side) ? b : a;
    }

    View view_;
};

}  // namespace quarry
