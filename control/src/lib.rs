//! Control: the ipvsadm language, desired state, snapshots, kernel mirror, socket.
