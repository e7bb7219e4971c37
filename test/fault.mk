# The calls that test/fault.c stands in front of, in test/fault_test alone
FAULT_WRAPS := open fcntl fstat stat statx fstatfs fstatvfs pread read pwrite pwritev2 fdatasync \
    fsync syncfs msync mmap munmap madvise fallocate ftruncate lseek ioctl sync_file_range syscall \
    getrandom memfd_create malloc calloc realloc aligned_alloc free pthread_setspecific \
    pthread_key_create
$(OUT)/test/fault_test: LDFLAGS += $(FAULT_WRAPS:%=-Wl,--wrap=%)
$(OUT)/test/fault_test: test/fault.mk
