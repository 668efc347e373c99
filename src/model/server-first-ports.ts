/**
 * Port numbers on which the server speaks first: FTP, SSH, Telnet, SMTP and LMTP (24, 25, 587, 2525), POP3, NNTP, IMAP, rsync, MySQL and its
 * cluster replication (Galera), ManageSieve, VNC. With other protocols than HTTP the client speaks first, and its first bytes show that it is
 * not HTTP.
 */
export const serverFirstPorts: ReadonlySet<number> = new Set([
  21, 22, 23, 24, 25, 110, 119, 143, 587, 873, 2525, 3306, 4190, 4444, 4567, 4568, 5900,
]);
