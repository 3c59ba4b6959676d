// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// Slabs by address: from any pointer to the slab that holds it, or none. A treap (Seidel
// and Aragon 1996): a search tree by address that is a heap by a mixed address, so that its
// shape does not depend on the order of the steps. Find, insert and remove are O(log slabs),
// expected; no recursion, no memory of its own: Node is a member of each descriptor.
//
// Slab: `tree` (a Node), base() (its first byte), and kSlabBytes. Under the cache's lock.
#pragma once

#include "../base/types.hpp"

namespace quarry {

template <typename Slab>
struct SlabTreeNode {
    Slab* left = nullptr;
    Slab* right = nullptr;
};

template <typename Slab>
class SlabTree {
public:
    // The slab whose bytes hold `address`, or null.
    Slab* find(const void* address) const {
        const u64 key = key_of(address);
        for (Slab* at = root_; at;) {
            const u64 base = key_of(at->base());
            if (key < base)
                at = at->tree.left;
            else if (key - base < Slab::kSlabBytes)
                return at;
            else
                at = at->tree.right;
        }
        return nullptr;
    }

    void insert(Slab& slab) {
        const u64 key = key_of(slab.base());
        Slab** link = &root_;
        while (*link && rank(**link) >= rank(slab))
            link = key < key_of((*link)->base()) ? &(*link)->tree.left : &(*link)->tree.right;
        // What was below is split around the new one.
        Slab* rest = *link;
        *link = &slab;
        Slab** below = &slab.tree.left;
        Slab** above = &slab.tree.right;
        while (rest) {
            if (key_of(rest->base()) < key) {
                *below = rest;
                below = &rest->tree.right;
                rest = *below;
            } else {
                *above = rest;
                above = &rest->tree.left;
                rest = *above;
            }
        }
        *below = *above = nullptr;
    }

    // It is in the tree.
    void remove(Slab& slab) {
        const u64 key = key_of(slab.base());
        Slab** link = &root_;
        while (*link != &slab)
            link = key < key_of((*link)->base()) ? &(*link)->tree.left : &(*link)->tree.right;
        Slab* left = slab.tree.left;
        Slab* right = slab.tree.right;
        while (left && right) {
            Slab*& higher = rank(*left) >= rank(*right) ? left : right;
            const bool is_left = &higher == &left;
            *link = higher;
            link = is_left ? &higher->tree.right : &higher->tree.left;
            higher = *link;
        }
        *link = left ? left : right;
        slab.tree = {};
    }

    // Its children stand on their sides, and below it.
    static bool sound(const Slab& slab) {
        const Slab* left = slab.tree.left;
        const Slab* right = slab.tree.right;
        if (left && (key_of(left->base()) >= key_of(slab.base()) || rank(*left) > rank(slab)))
            return false;
        return !right ||
               (key_of(right->base()) > key_of(slab.base()) && rank(*right) <= rank(slab));
    }

private:
    static u64 key_of(const void* address) { return reinterpret_cast<u64>(address); }
    // A permutation of the address: no two slabs are alike. (Stafford 2011, variant 13.)
    static u64 rank(const Slab& slab) {
        u64 x = key_of(slab.base());
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
        x = (x ^ x >> 27) * 0x94d049bb133111eb;
        return x ^ x >> 31;
    }

    Slab* root_ = nullptr;
};

}  // namespace quarry
