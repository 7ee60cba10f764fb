/* The NVIDIA cards of a system as the kernel shows them, and what keeps programs from using them. No driver is needed
 * for this. */
#ifndef CARDS_H
#define CARDS_H

#include <dirent.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "text.h"

typedef struct {
    char address[64], name[64];
    uint32_t id;
    int has_module, is_nouveau;
} card;

typedef struct {
    card all[64];
    uint32_t n;
    /* Of the kernel module; 0 if it is not loaded. */
    double version;
    char driver[64], system[32];
} cards;

typedef struct {
    char what[320], mend[256];
} complaint;

/* The beginning of a file below a root; 0 if it cannot be read. */
static int file_text(const char *root, const char *path, char *text, size_t room) {
    char whole[4096];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    FILE *from = fopen(whole, "rb");
    size_t n = from ? fread(text, 1, room - 1, from) : 0;
    if (from) (void)fclose(from);
    text[n] = 0;
    return n > 0;
}

static int exists(const char *root, const char *path, int mode) {
    char whole[4096];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    return access(whole, mode) == 0;
}

/* Names of cards that stand in old servers; others are called by their number. */
static const struct {
    uint32_t id;
    const char *name;
} NAMES[] = {{0x102d, "Tesla K80"}, {0x1023, "Tesla K40m"}, {0x1024, "Tesla K40c"}, {0x1021, "Tesla K20Xm"},
             {0x1028, "Tesla K20m"}, {0x118f, "Tesla K10"}, {0x13f2, "Tesla M60"}, {0x17fd, "Tesla M40"},
             {0x15f8, "Tesla P100 PCIe 16GB"}, {0x15f7, "Tesla P100 PCIe 12GB"}, {0x1b38, "Tesla P40"},
             {0x1bb3, "Tesla P4"}, {0x1db4, "Tesla V100 PCIe 16GB"}, {0x1eb8, "Tesla T4"}};

/* Kepler, which branch 470 of the driver is the last to know; and Fermi, which is older than all that is supported. */
static int is_kepler(uint32_t id) {
    return (id >= 0x0fc0 && id < 0x1040) || (id >= 0x1180 && id < 0x1200) || (id >= 0x1280 && id < 0x1300);
}
static int is_fermi(uint32_t id) {
    return (id >= 0x06c0 && id < 0x0fc0) || (id >= 0x1040 && id < 0x1180) || (id >= 0x1200 && id < 0x1280);
}

static void add_card(cards *c, const char *root, const char *address) {
    char path[512], text[64], link[1024], whole[4096];
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%.60s/vendor", address);
    if (!file_text(root, path, text, sizeof text) || strtoul(text, NULL, 16) != 0x10de) return;
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%.60s/class", address);
    if (!file_text(root, path, text, sizeof text) || strtoul(text, NULL, 16) >> 16 != 3) return;
    if (c->n == sizeof c->all / sizeof *c->all) return;
    card *to = &c->all[c->n++];
    snprintf(to->address, sizeof to->address, "%.60s", address);
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%.60s/device", address);
    to->id = file_text(root, path, text, sizeof text) ? (uint32_t)strtoul(text, NULL, 16) : 0;
    snprintf(to->name, sizeof to->name, "NVIDIA card 10de:%04x", (unsigned)to->id);
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (NAMES[i].id == to->id) snprintf(to->name, sizeof to->name, "%s", NAMES[i].name);
    snprintf(whole, sizeof whole, "%s/sys/bus/pci/devices/%.60s/driver", root, address);
    ssize_t n = readlink(whole, link, sizeof link - 1);
    link[n > 0 ? n : 0] = 0;
    const char *module = strrchr(link, '/');
    to->has_module = n > 0 && module && !strcmp(module, "/nvidia");
    to->is_nouveau = n > 0 && module && !strcmp(module, "/nouveau");
}

static int by_address(const void *a, const void *b) {
    return strcmp(((const card *)a)->address, ((const card *)b)->address);
}

static cards find_cards(const char *root) {
    cards c = {0};
    char path[4096], text[4096];
    snprintf(path, sizeof path, "%s/sys/bus/pci/devices", root);
    DIR *folder = opendir(path);
    for (struct dirent *e; folder && (e = readdir(folder));)
        if (e->d_name[0] != '.') add_card(&c, root, e->d_name);
    if (folder) (void)closedir(folder);
    if (c.n) qsort(c.all, c.n, sizeof *c.all, by_address);
    /* NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.256.02  … */
    if (file_text(root, "/proc/driver/nvidia/version", text, sizeof text)) {
        const char *at = strstr(text, "Module");
        while (at && *at && (*at < '0' || *at > '9')) at++;
        if (at) snprintf(c.driver, sizeof c.driver, "%.*s", (int)strspn(at, "0123456789."), at), c.version = atof(at);
    }
    const char *id = file_text(root, "/etc/os-release", text, sizeof text) ? strstr(text, "\nID=") : NULL;
    if (!id && !strncmp(text, "ID=", 3)) id = text - 1;
    if (id) {
        id += 4;
        id += *id == '"';
        snprintf(c.system, sizeof c.system, "%.*s", (int)strcspn(id, "\"\n"), id);
    }
    return c;
}

/* The command that installs a branch of the driver. */
static void install(const cards *c, int kepler, char *to, size_t room) {
#define MODULE "sudo dnf module install nvidia-driver:"
    static const struct {
        const char *system, *kepler, *other;
    } LINES[] = {
        {"debian", "sudo apt install nvidia-tesla-470-driver", "sudo apt install nvidia-driver"},
        {"ubuntu", "sudo apt install nvidia-driver-470-server", "sudo ubuntu-drivers install"},
        {"rocky", MODULE "470-dkms", MODULE "latest-dkms"},
        {"almalinux", MODULE "470-dkms", MODULE "latest-dkms"},
        {"rhel", MODULE "470-dkms", MODULE "latest-dkms"}};
#undef MODULE
    snprintf(to, room, "install %s of NVIDIA's driver", kepler ? "branch 470" : "branch 470 or a newer one");
    for (size_t i = 0; i < sizeof LINES / sizeof *LINES; i++)
        if (!strcmp(LINES[i].system, c->system)) snprintf(to, room, "%s", kepler ? LINES[i].kepler : LINES[i].other);
}

/* Says why a card is not used, and the line that mends it. 0: nothing can be seen from here. */
static int complain(const cards *c, const card *of, const char *root, complaint *to) {
    int kepler = is_kepler(of->id);
    *to = (complaint){0};
#define SAY(...) snprintf(to->what, sizeof to->what, __VA_ARGS__)
#define MEND(text) snprintf(to->mend, sizeof to->mend, "%s", text)
    if (is_fermi(of->id)) {
        SAY("it is older than compute capability 3.7, for which there are kernels");
    } else if (c->version > 0 && c->version < 470) {
        SAY("driver %s is older than 470, which is needed", c->driver), install(c, kepler, to->mend, sizeof to->mend);
    } else if (kepler && c->version >= 495) {
        SAY("driver %s does not know this card; 470 is the last branch that does", c->driver);
        install(c, 1, to->mend, sizeof to->mend);
    } else if (of->is_nouveau) {
        SAY("the module nouveau has it, which is no driver for computing");
        if (exists(root, "/sys/module/nvidia", F_OK) || c->version > 0)
            MEND("echo blacklist nouveau | sudo tee /etc/modprobe.d/nouveau.conf && "
                 "sudo update-initramfs -u && sudo reboot");
        else install(c, kepler, to->mend, sizeof to->mend);
    } else if (!(c->version > 0)) {
        int there = exists(root, "/usr/bin/nvidia-smi", F_OK) || exists(root, "/usr/bin/nvidia-modprobe", F_OK);
        if (there) SAY("NVIDIA's kernel module is not loaded"), MEND("sudo modprobe nvidia");
        else SAY("NVIDIA's driver is not installed"), install(c, kepler, to->mend, sizeof to->mend);
    } else if (!of->has_module) {
        SAY("NVIDIA's kernel module is loaded, but not for this card; `sudo dmesg | grep NVRM` says why");
    } else if (!exists(root, "/dev/nvidiactl", F_OK) || !exists(root, "/dev/nvidia0", F_OK)) {
        SAY("the card's device files are not there"), MEND("sudo nvidia-modprobe -c=0 -u");
    } else if (!exists(root, "/dev/nvidia-uvm", F_OK)) {
        SAY("/dev/nvidia-uvm is not there"), MEND("sudo nvidia-modprobe -u -c=0");
    } else if (!exists(root, "/dev/nvidiactl", R_OK | W_OK) || !exists(root, "/dev/nvidia-uvm", R_OK | W_OK)) {
        SAY("this user may not open /dev/nvidiactl and /dev/nvidia-uvm");
        MEND("sudo usermod -aG video \"$USER\"  # then log in again");
    }
#undef SAY
#undef MEND
    return *to->what != 0;
}

#endif
