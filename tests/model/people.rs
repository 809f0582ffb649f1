//! What people do, and what comes by itself: changes on the server that no operator made.

use super::objects;
use super::state::*;
use super::tables::Tables;
use super::witness;

/// The next version comes by itself.
pub(crate) fn release(tables: &mut Tables, world: &mut World) -> Option<()> {
    let version = tables.configuration.releases[usize::from(world.rest.released)];
    world.rest.released += 1;
    change(tables, world, Edit::Deploy(version))
}

/// A person, or a release, changes something on the server.
pub(crate) fn change(tables: &mut Tables, world: &mut World, edit: Edit) -> Option<()> {
    let server = &mut world.server;
    let bird = |b: u8, birds: &mut [Option<Seen<Bird>>; BIRDS], edit: &mut dyn FnMut(&mut Bird)| {
        let bird = birds[usize::from(b)].as_mut()?;
        let before = bird.is;
        edit(&mut bird.is);
        bird.version += 1;
        (bird.is != before).then_some(())
    };
    match edit {
        Edit::Form(b, form) => bird(b, &mut server.birds, &mut |bird| bird.form = form)?,
        Edit::Verb(b, verb) => {
            bird(b, &mut server.birds, &mut |bird| bird.verb = verb)?;
            let asks = tables.configuration.verbs[usize::from(verb)].starts_with("promote");
            world.rest.ghost.promote |= asks;
        }
        Edit::Delete(b) => {
            bird(b, &mut server.birds, &mut |bird| bird.deleting = true)?;
            let place = usize::from(b);
            server.birds[place] = server.birds[place].filter(|bird| bird.is.finalizer);
        }
        Edit::Weight(canary) => {
            weigh(tables, world, canary)?;
        }
        Edit::Available(version, available) => {
            let pods = server.pods.is[usize::from(version)].as_mut()?;
            if pods.available == available {
                return None;
            }
            pods.available = available;
            server.pods.version += 1;
        }
        Edit::Revise(version) => {
            let pods = server.pods.is[usize::from(version)].as_mut()?;
            if pods.revision > 1 {
                return None;
            }
            pods.revision += 1;
            server.pods.version += 1;
        }
        Edit::Deploy(version) => {
            let pods = &mut server.pods.is[usize::from(version)];
            if pods.is_some() {
                return None;
            }
            *pods = Some(Pods {
                revision: 1,
                available: 2,
            });
            server.pods.version += 1;
        }
    }
    Some(())
}

/// A person sets the canary's weight.
fn weigh(tables: &mut Tables, world: &mut World, canary: i64) -> Option<()> {
    let route = world.server.route;
    if tables.weight(route.is) == canary {
        return None;
    }
    let weighed = objects::set_weight(tables.routes.at(route.is), canary);
    world.server.route = Seen {
        is: tables.route(weighed),
        version: route.version + 1,
    };
    world.rest.by_hand = true;
    witness::adopt(tables, world);
    Some(())
}

/// People end pauses, and every pod is there.
pub(crate) fn mend(tables: &Tables, world: &mut World) {
    let server = &mut world.server;
    for bird in server.birds.iter_mut().flatten() {
        let form = tables.configuration.mended(bird.is.form);
        if form != bird.is.form {
            bird.is.form = form;
            bird.version += 1;
        }
    }
    let before = server.pods.is;
    server
        .pods
        .is
        .iter_mut()
        .flatten()
        .for_each(|pods| pods.available = 2);
    server.pods.version += u8::from(server.pods.is != before);
}
