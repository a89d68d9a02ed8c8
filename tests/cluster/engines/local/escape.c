/* What a decoder that a file took over would try: each gives 0 where it succeeds, else the error's number. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <unistd.h>

#define RESULT(failed) ((failed) ? errno : 0)

int connect_to(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int made = socket(AF_INET, SOCK_STREAM, 0);
    if (made < 0) return errno;
    int result = RESULT(connect(made, (struct sockaddr *)&address, sizeof address));
    close(made);
    return result;
}

int make_socket(int family) {
    int made = socket(family, SOCK_DGRAM, 0);
    if (made < 0) return errno;
    return close(made);
}

int read_file(const char *path) {
    char byte;
    int file = open(path, O_RDONLY);
    if (file < 0) return errno;
    int result = RESULT(read(file, &byte, 1) < 0);
    close(file);
    return result;
}

int write_file(const char *path) {
    int file = open(path, O_WRONLY | O_CREAT, 0600);
    if (file < 0) return errno;
    int result = RESULT(write(file, "x", 1) < 0);
    close(file);
    return result;
}

int cut_file(const char *path) { return RESULT(truncate(path, 1)); }

int remove_file(const char *path) { return RESULT(unlink(path)); }

int watch_parent(int unused) {
    if (ptrace(PTRACE_SEIZE, getppid(), 0, 0)) return errno;
    ptrace(PTRACE_DETACH, getppid(), 0, 0);
    return 0;
}

int own_namespace(int unused) { return RESULT(unshare(0)); }

int open_files(int most) {
    int opened[most], count = 0, result = 0;
    while (count < most && (opened[count] = open("/dev/null", O_RDONLY)) >= 0) count++;
    if (count < most) result = errno;
    while (count) close(opened[--count]);
    return result;
}

int grow_file(const char *path) {
    int file = open(path, O_WRONLY | O_CREAT, 0600);
    if (file < 0) return errno;
    int result = RESULT(ftruncate(file, 1L << 42));
    ftruncate(file, 0);
    close(file);
    return result;
}

int reserve(int gibibytes) {
    size_t size = (size_t)gibibytes << 30;
    void *place = mmap(0, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) return errno;
    return RESULT(munmap(place, size));
}
