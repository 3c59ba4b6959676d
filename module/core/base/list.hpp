// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// An intrusive doubly linked ring. Nodes are members of metadata, never of managed
// memory; a removed node points to itself, so that membership can be asked.
// Every operation is O(1); the caller holds the lock that guards the list.
#pragma once

#include <cstddef>

namespace quarry {

struct ListNode {
    ListNode* next = this;
    ListNode* prev = this;

    constexpr ListNode() = default;
    ListNode(const ListNode&) = delete;
    ListNode& operator=(const ListNode&) = delete;

    bool linked() const { return next != this; }

    void insert_after(ListNode& at) {
        next = at.next;
        prev = &at;
        at.next->prev = this;
        at.next = this;
    }

    void remove() {
        next->prev = prev;
        prev->next = next;
        next = prev = this;
    }
};

// A list of T by its member `Node`.
template <typename T, ListNode T::*Node>
class List {
public:
    bool empty() const { return !head_.linked(); }
    void push_front(T& t) { (t.*Node).insert_after(head_); }
    void push_back(T& t) { (t.*Node).insert_after(*head_.prev); }
    static void remove(T& t) { (t.*Node).remove(); }
    static bool linked(const T& t) { return (t.*Node).linked(); }

    T* front() { return empty() ? nullptr : owner(head_.next); }
    // The one behind `t`, or null at the end.
    T* after(T& t) { return (t.*Node).next == &head_ ? nullptr : owner((t.*Node).next); }

    T* pop_front() {
        T* t = front();
        if (t) remove(*t);
        return t;
    }

private:
    static T* owner(ListNode* node) {
        // The distance of the member, without a null object: T need not be standard layout.
        alignas(T) static constinit char probe[sizeof(T)] = {};
        auto* base = reinterpret_cast<T*>(probe);
        auto distance = reinterpret_cast<char*>(&(base->*Node)) - probe;
        return reinterpret_cast<T*>(reinterpret_cast<char*>(node) - distance);
    }

    ListNode head_;
};

}  // namespace quarry
