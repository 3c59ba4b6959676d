# SPDX-License-Identifier: MIT
# Word frequencies of the files named, by three threads at once, each on its share of the files, joined
# by the first: perl copies its interpreter to each thread and a thread's answer back.
use strict;
use warnings;
use threads;

sub count_words {
    my %count;
    for my $file (@_) {
        open my $in, '<', $file or die "$file: $!\n";
        while (my $line = <$in>) {
            $count{$_}++ for $line =~ /[A-Za-z_]\w+/g;
        }
        close $in;
    }
    return \%count;
}

my @share;
push @{ $share[$_ % 3] }, $ARGV[$_] for 0 .. $#ARGV;
my @workers = map { my $files = $_; threads->create({ context => 'scalar' }, sub { count_words(@$files) }) } @share;
my %total;
for my $worker (@workers) {
    my $count = $worker->join or die "a thread died\n";
    $total{$_} += $count->{$_} for keys %$count;
}
my @sorted = sort { $total{$b} <=> $total{$a} || $a cmp $b } keys %total;
printf "%d different words\n", scalar @sorted;
printf "%6d %s\n", $total{$_}, $_ for @sorted[0 .. ($#sorted < 9 ? $#sorted : 9)];
