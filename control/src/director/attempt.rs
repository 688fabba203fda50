//! Changes that are made as a whole or not at all.

use super::{Daemons, Director, NoHost};
use shunt_engine::tables::ServerId;
use std::sync::Arc;

/// Marks on the boards that an attempt has changed, as they were, latest last.
pub(super) type Undo = Vec<(ServerId, bool)>;

impl Director {
    /// Makes the changes of `work`, which adds at most so many servers. If it fails, everything is as before. It must
    /// not publish.
    ///
    /// # Errors
    /// What `work` returned.
    pub fn attempt<E>(
        &mut self,
        servers: usize,
        work: impl FnOnce(&mut Director) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.trash.room() < servers {
            // Not later: an id that was given to another server could not be given back.
            self.squeeze_trash();
        }
        let mut before = self.copy();
        self.undo = Some(Vec::new());
        let done = work(self);
        let undo = self.undo.take().unwrap_or_default();
        if done.is_err() {
            let boards = self.dataplane.boards();
            // The oldest is set last. Marks of servers that are new need no care: ids are reset before use.
            undo.into_iter().rev().for_each(|(id, overloaded)| {
                boards.set_overloaded(id, overloaded);
            });
            // No attempt touches the daemons, and the copy has none.
            std::mem::swap(&mut before.daemons, &mut self.daemons);
            *self = before;
        }
        done
    }

    /// Not `Clone`: two directors over the same workers would be one too many, but for a moment under the lock. The
    /// tables are shared chunk by chunk; the maps of 200,000 servers take some 20 ms.
    fn copy(&self) -> Director {
        Director {
            dataplane: self.dataplane.clone(),
            resolver: self.resolver.clone(),
            limits: self.limits,
            tables: self.tables.clone(),
            services: self.services.clone(),
            unsettled: self.unsettled.clone(),
            next_service_id: self.next_service_id,
            free_service_ids: self.free_service_ids.clone(),
            born: self.born,
            live: self.live.clone(),
            servers: self.servers.clone(),
            trash: self.trash.clone(),
            service_statistics: self.service_statistics.clone(),
            server_statistics: self.server_statistics.clone(),
            total: self.total,
            run_estimation: self.run_estimation,
            unheeded: self.unheeded,
            marks: self.marks.clone(),
            nic_port_names: self.nic_port_names.clone(),
            broadcast: self.broadcast.clone(),
            daemons: Daemons::new(Arc::new(NoHost)),
            unpublished: self.unpublished,
            publications: self.publications,
            in_force: self.in_force,
            undo: None,
        }
    }
}
