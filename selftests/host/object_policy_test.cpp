// SPDX-License-Identifier: MIT
//
// What an ObjectCache can be made of: lock policies, types of every shape, sizes of slabs;
// and what does not compile, or link.
#include "object_hooks.hpp"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace quarry {
namespace {

using ObjectPolicyTest = ObjectTest;
using HostLock = PlatformLock<HostPlatform, QUARRY_LOCK_PAGES>;

// Neither default-constructible nor copyable nor movable.
struct Thing {
    explicit Thing(u64 value) : value(value) {}
    Thing(const Thing&) = delete;
    Thing& operator=(const Thing&) = delete;
    u64 value;
    u64 rest[7] = {};
};
using Things = ObjectCache<Thing, HostLock>;

// ---- lock policies ----

struct TooLarge {
    char bytes[17];
    int lock() { return 0; }
    void unlock(int) {}
};
struct WrongState {
    int* lock() { return nullptr; }
    void unlock(int) {}
};
struct NeedsAnArgument {
    explicit NeedsAnArgument(int) {}
    int lock() { return 0; }
    void unlock(int) {}
};
struct Own {
    u64 words[2];
    int lock() { return 0; }
    void unlock(int) {}
};
static_assert(LockPolicy<NoLock> && LockPolicy<SpinLock> && LockPolicy<IrqSpinLock>);
static_assert(sizeof(SpinLock) == 4);
static_assert(LockPolicy<HostLock> && LockPolicy<Own>);
static_assert(!LockPolicy<TooLarge> && !LockPolicy<WrongState> && !LockPolicy<NeedsAnArgument>);
static_assert(!LockPolicy<int>);

static_assert(is_slab_for<Thing, 4096> && is_slab_for<Thing, 1 << 20>);
static_assert(!is_slab_for<Thing, 2048> && !is_slab_for<Thing, 12288> && !is_slab_for<Thing, 0>);
static_assert(is_slab_for<char[4096], 4096> && !is_slab_for<char[4097], 4096>);
static_assert(is_slab_for<char, 1 << 18> && !is_slab_for<char, 1 << 19>);

template <typename Cache>
concept MakesFromText = requires(Cache& cache) { cache.make("text"); };
template <typename Cache>
concept MakesFromNothing = requires(Cache& cache) { cache.make(); };
template <typename Cache, typename Factory>
concept MakesWith = requires(Cache& cache, Factory f) { cache.make_with(f); };
static_assert(!MakesFromText<Things> && !MakesFromNothing<Things>);
static_assert(MakesWith<Things, Error (*)(void*)> && !MakesWith<Things, void (*)(void*)>);
static_assert(!std::copy_constructible<Things::Box> && std::movable<Things::Box>);
static_assert(std::copyable<Things>);

template <typename Lock>
void serves(u64 slots) {
    auto made = ObjectCache<u64, Lock>::create();
    ASSERT_TRUE(made);
    auto cache = *std::move(made);
    std::vector<Box<u64, Lock>> boxes;
    for (u64 i = 0; i < 3 * slots; ++i) boxes.push_back(*cache.make(i));
    for (u64 i = 0; i < boxes.size(); ++i) ASSERT_EQ(*boxes[i], i);
    Audit audit;
    cache.verify(audit);
    ASSERT_TRUE(audit.clean());
}

TEST_F(ObjectPolicyTest, EachLockPolicyServes) {
    serves<NoLock>(512);
    serves<SpinLock>(512);
    serves<HostLock>(512);
    serves<Own>(512);
}

// As in a kernel with lock debugging: the lock is larger than a policy may be.
struct LargeLocks : HostPlatform {
    class Lock {
    public:
        explicit Lock(quarry_lock_rank rank) : lock_(rank) {}
        unsigned long lock() { return lock_.lock(); }
        void unlock(unsigned long state) { lock_.unlock(state); }

    private:
        HostPlatform::Lock lock_;
        [[maybe_unused]] char debugging_[88] = {};
    };
};
using LargeLock = PlatformLock<LargeLocks, QUARRY_LOCK_PAGES>;
static_assert(Platform<LargeLocks> && sizeof(LargeLocks::Lock) == 96 && LockPolicy<LargeLock>);

TEST_F(ObjectPolicyTest, ALargeLockOfThePlatformStandsApart) {
    serves<LargeLock>(512);
    using Cache = ObjectCache<u64, LargeLock>;
    for (const u64 nth : {1u, 2u}) {
        hooks.refuse_meta = nth;
        EXPECT_EQ(Cache::create().error(), Error::no_memory);
        EXPECT_TRUE(hooks.nothing_is_out());
    }
    const Cache cache = create<Cache>();
    EXPECT_EQ(hooks.meta_count(), 2u);
}

// ---- shapes ----

template <std::size_t Bytes, std::size_t Align = 1>
struct alignas(Align) Shape {
    explicit Shape(u8 value) { std::memset(bytes, value, Bytes); }
    ~Shape() {
        for (const u8 b : bytes)
            if (b != bytes[0]) ObjectHooks::die("objects overlap");
    }
    u8 bytes[Bytes];
};

// Fills three slabs, drops a random half, fills again: aligned, apart, all of a slab used.
template <typename T, std::size_t SlabBytes = default_slab_bytes<T>>
void fits() {
    using Cache = ObjectCache<T, NoLock, SlabBytes>;
    static_assert(Cache::kSlots == SlabBytes / sizeof(T));
    auto cache = *Cache::create();
    const u64 n = 3 * u64{Cache::kSlots};
    std::vector<typename Cache::Box> boxes(n);
    std::mt19937 random(1);
    std::set<const void*> places;
    const auto fill = [&] {
        for (u64 i = 0; i < n; ++i) {
            if (boxes[i]) continue;
            auto made = cache.make(static_cast<u8>(i));
            ASSERT_TRUE(made);
            boxes[i] = *std::move(made);
            ASSERT_EQ(reinterpret_cast<u64>(boxes[i].get()) % alignof(T), 0u);
            ASSERT_TRUE(places.insert(boxes[i].get()).second);
        }
        ASSERT_EQ(cache.slabs(), 3u);
        Audit audit;
        cache.verify(audit);
        ASSERT_TRUE(audit.clean()) << audit.result().first;
    };
    fill();
    for (auto& box : boxes)
        if (random() % 2) {
            places.erase(box.get());
            box.reset();
        }
    fill();
    for (u64 i = 0; i < n; ++i) ASSERT_EQ(boxes[i]->bytes[0], static_cast<u8>(i));
    T* raw = boxes[n / 2].release();
    EXPECT_EQ(cache.adopt(raw)->get(), raw);
}

TEST_F(ObjectPolicyTest, ObjectsOfOneByteThreeAnd24) {
    fits<Shape<1>>();
    fits<Shape<3>>();
    fits<Shape<24>>();
    fits<Shape<63>>();
    fits<Shape<64>>();
    fits<Shape<65>>();
}

TEST_F(ObjectPolicyTest, ObjectsOfHalfASlabAWholeOneAndMoreThanAPage) {
    fits<Shape<2048>, 4096>();
    fits<Shape<4096>, 4096>();
    fits<Shape<4095>, 4096>();
    fits<Shape<5000>>();
    fits<Shape<5000>, 8192>();
    fits<Shape<70000>>();
}

TEST_F(ObjectPolicyTest, AlignmentsUpToTheSlab) {
    fits<Shape<1, 16>>();
    fits<Shape<100, 256>>();
    fits<Shape<4096, 4096>>();
    fits<Shape<8192, 8192>, 16384>();
    fits<Shape<16384, 16384>, 16384>();
}

TEST_F(ObjectPolicyTest, SlabsOfOneTwoAndThreeLevelsOfBits) {
    static_assert(sizeof(OpenSlots<64>) == 8 && sizeof(OpenSlots<65>) == 24);
    fits<Shape<1>, 8192>();
    fits<Shape<1>, 65536>();
    fits<Shape<5>, 65536>();
    fits<Shape<1>, 1 << 18>();
}

// The bits alone, against a set: every count around the edges of words and levels.
template <u32 N>
void bits_of() {
    OpenSlots<N> bits;
    EXPECT_FALSE(bits.any());
    bits.open_all();
    std::set<u32> open;
    for (u32 i = 0; i < N; ++i) open.insert(i);
    std::mt19937 random(N);
    for (u32 step = 0; step < 20000; ++step) {
        ASSERT_EQ(bits.any(), !open.empty());
        const u32 slot = random() % N;
        ASSERT_EQ(bits.test(slot), open.count(slot) != 0);
        if ((random() % 4 == 0) == (step / 4000 % 2 != 0) && !open.empty()) {
            ASSERT_EQ(bits.lowest(), *open.begin());
            ASSERT_EQ(bits.take(), *open.begin());
            open.erase(open.begin());
        } else {
            ASSERT_EQ(bits.open(slot), open.insert(slot).second);
        }
        if (step % 64 == 0) {
            ASSERT_EQ(bits.count(), open.size());
        }
    }
}

TEST_F(ObjectPolicyTest, TheBitsAgreeWithASetAtEveryEdge) {
    bits_of<1>();
    bits_of<2>();
    bits_of<63>();
    bits_of<64>();
    bits_of<65>();
    bits_of<127>();
    bits_of<128>();
    bits_of<129>();
    bits_of<4095>();
    bits_of<4096>();
    bits_of<4097>();
    bits_of<262144>();
}

// ---- what must not build ----

// What the compiler says to a program with `body`; links too, without hooks, if told so.
std::string build(const std::string& body, bool link) {
    namespace fs = std::filesystem;
    const fs::path root = fs::absolute(__FILE__).parent_path() / "../..";
    const fs::path folder = fs::temp_directory_path() / ("quarry_object." + std::to_string(getpid()));
    fs::create_directory(folder);
    std::ofstream(folder / "t.cpp")
        << "#include \"" << (root / "module/core/object/object_cache.hpp").string() << "\"\n"
        << body;
    const std::string command = "g++ -std=c++20 " + std::string(link ? "-O1 -o " : "-fsyntax-only -o ") +
                                (folder / "t").string() + " " + (folder / "t.cpp").string() + " >" +
                                (folder / "out").string() + " 2>&1";
    const int status = std::system(command.c_str());
    std::ifstream out(folder / "out");
    std::string text((std::istreambuf_iterator<char>(out)), {});
    fs::remove_all(folder);
    return status ? text + "(failed)" : text;
}

TEST_F(ObjectPolicyTest, AMissingHookIsALinkErrorThatNamesIt) {
    const std::string said =
        build("int main() {\n"
              "    auto cache = quarry::ObjectCache<int>::create();\n"
              "    return cache && cache->make(1) ? 0 : 1;\n"
              "}\n",
              true);
    for (const char* hook : {"object_slab_alloc", "object_slab_free", "object_meta_alloc", "object_meta_free"})
        EXPECT_NE(said.find("undefined reference to `quarry::" + std::string(hook)), std::string::npos)
            << hook << " is not named in:\n" << said;
}

// The indented part of the header's own comment, its include apart.
TEST_F(ObjectPolicyTest, TheExampleInTheHeadCommentCompiles) {
    namespace fs = std::filesystem;
    std::ifstream header(fs::absolute(__FILE__).parent_path() /
                         "../../module/core/object/object_cache.hpp");
    std::string example;
    for (std::string line; std::getline(header, line) && line.starts_with("//");)
        if (line.starts_with("//   ") && !line.starts_with("//   #include")) example += line.substr(5) + "\n";
    const auto end = example.find("\n}\n");
    ASSERT_NE(end, std::string::npos);
    example.resize(end + 3);
    EXPECT_NE(example.find("Error serve()"), std::string::npos);
    EXPECT_EQ(build(example, false), "") << example;
}

TEST_F(ObjectPolicyTest, WhatCannotBeACacheDoesNotCompile) {
    const std::string said = build("template class quarry::ObjectCache<int>;\n"
                                   "template class quarry::ObjectCache<int, quarry::NoLock, 12288>;\n"
                                   "template class quarry::ObjectCache<int, int>;\n",
                                   false);
    for (const char* why : {"SlabBytes is a power of two", "a policy is default-constructible"})
        EXPECT_NE(said.find(why), std::string::npos) << why << " is not said in:\n" << said;
    EXPECT_EQ(said.find("t.cpp:2:"), std::string::npos) << "the sound one is refused:\n" << said;
}

// A lock, a size of slab and a type at each bound, and the same one step beyond it.
TEST_F(ObjectPolicyTest, EachBoundOfLockSizeAndTypeIsCheckedAtCompileTime) {
    const std::string types =
        "template <int N> struct Wide { char bytes[N]; int lock(); void unlock(int); };\n"
        "struct Deaf { char* lock(); void unlock(int); };\n"
        "struct Late { explicit Late(int); int lock(); void unlock(int); };\n"
        "template <int N> struct Big { char bytes[N]; };\n"
        "template <int N> struct alignas(N) Aligned { char byte; };\n"
        "struct Throws { ~Throws() noexcept(false); };\n"
        "using quarry::ObjectCache, quarry::NoLock;\n";
    const char* sound[] = {"<int, Wide<16>>", "<Big<4096>, NoLock, 4096>", "<Big<1>, NoLock, 262144>",
                           "<Aligned<4096>, NoLock, 4096>", "<int, NoLock, 4096>"};
    const char* wrong[] = {"<int, Wide<17>>",
                           "<int, Deaf>",
                           "<int, Late>",
                           "<Big<4097>, NoLock, 4096>",
                           "<Big<1>, NoLock, 524288>",
                           "<Aligned<8192>, NoLock, 4096>",
                           "<int, NoLock, 2048>",
                           "<int, NoLock, 6144>",
                           "<Throws, NoLock, 4096>",
                           "<int[2], NoLock, 4096>",
                           "<int&, NoLock, 4096>"};
    std::string good = types, bad = types;
    for (const char* one : sound) good += std::string("template class ObjectCache") + one + ";\n";
    for (const char* one : wrong) bad += std::string("template class ObjectCache") + one + ";\n";
    EXPECT_EQ(build(good, false), "");
    const std::string said = build(bad, false);
    int line = 2 + static_cast<int>(std::count(types.begin(), types.end(), '\n'));
    for (const char* one : wrong)
        EXPECT_NE(said.find("t.cpp:" + std::to_string(line++) + ":"), std::string::npos)
            << one << " compiles";
}

}  // namespace
}  // namespace quarry
